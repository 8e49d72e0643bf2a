-- KEYS: active, generations, catalog. Answers {active, generations, catalog}.
return {redis.call('GET', KEYS[1]) or '', redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}
