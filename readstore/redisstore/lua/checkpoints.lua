-- Begins every script that reads part of a bucket: a broken one is read no further.
local checkpoints = redis.call('HGETALL', KEYS[1])
for i = 2, #checkpoints, 2 do
  if string.sub(checkpoints[i], 1, 7) == 'broken:' then return {checkpoints, {}} end
end

