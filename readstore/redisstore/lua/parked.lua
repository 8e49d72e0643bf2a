-- KEYS: checkpoints, parked. Answers {checkpoints, {name, JSON, ...}}.
return {checkpoints, redis.call('HGETALL', KEYS[2])}
