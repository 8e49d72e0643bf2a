-- KEYS: checkpoints, docs or parked. ARGV: fields. Answers {checkpoints, {field, JSON, ...} of those that exist}.
local CHUNK = 4000
local found = {}
for first = 1, #ARGV, CHUNK do
  local last = math.min(first + CHUNK - 1, #ARGV)
  for i, document in ipairs(redis.call('HMGET', KEYS[2], unpack(ARGV, first, last))) do
    if document then
      local n = #found
      found[n + 1], found[n + 2] = ARGV[first + i - 1], document
    end
  end
end
return {checkpoints, found}
