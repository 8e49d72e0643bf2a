-- Reads all of a bucket. KEYS: checkpoints, docs, sums, entries, parked, index, then ranked lists.
-- Answers {type, content} for each key; the content of a key of another type than it should have is empty.
local answer = {}
for i, key in ipairs(KEYS) do
  local kind, content = redis.call('TYPE', key).ok, {}
  if i <= 5 and kind == 'hash' then
    content = redis.call('HGETALL', key)
  elseif i > 5 and kind == 'zset' then
    content = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  end
  answer[i] = {kind, content}
end
return answer
