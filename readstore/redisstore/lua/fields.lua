-- Reads a document's sums or entries in byte order of their fields.
-- KEYS: checkpoints, sums or entries, index. ARGV: document id, lower and upper bound in the index,
-- how many (-1 for all). Answers {checkpoints, {field, value, ...}}.
local CHUNK = 4000
if ARGV[4] == '0' then return {checkpoints, {}} end

local members = redis.call('ZRANGEBYLEX', KEYS[3], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])
local fields, names = {}, {}
for i, member in ipairs(members) do
  fields[i] = string.sub(member, #ARGV[1] + 4) -- after <id>/s/ or <id>/e/
  names[i] = ARGV[1] .. '/' .. fields[i]
end
local found = {}
for first = 1, #names, CHUNK do
  local last = math.min(first + CHUNK - 1, #names)
  for i, value in ipairs(redis.call('HMGET', KEYS[2], unpack(names, first, last))) do
    if value then
      local n = #found
      found[n + 1], found[n + 2] = fields[first + i - 1], value
    end
  end
end
return {checkpoints, found}
