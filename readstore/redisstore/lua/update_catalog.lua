-- KEYS: active, generations, catalog. ARGV: revision expected, new revision, active, standby, then
-- generation id, JSON of each. Answers 1 if stored, 0 if somebody else was first.
local revision = redis.call('HGET', KEYS[3], 'revision') or ''
if revision == ARGV[2] then return 1 end -- this very update, sent again after its answer was lost
if revision ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[3], 'revision', ARGV[2], 'standby', ARGV[4])
if ARGV[3] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[3]) end
redis.call('DEL', KEYS[2])
for i = 5, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
return 1
