-- Changes one bucket if every source's stored checkpoint is the one expected.
-- KEYS: checkpoints, docs, sums, entries, parked, index, then each ranked list that the write touches.
-- ARGV: how many advances, then source, from, to of each; how many documents, then id, JSON of each;
-- how many sums, then id, field, delta, place of the ranked list in KEYS (0 for none) of each;
-- how many entries, then id, field, value of each; how many parked, then name, value (or '' for none more) of each.
-- Answers {1} applied; {0, all checkpoints} refused, nothing changed; {2, why} stopped half-way.

local CHUNK = 4000 -- arguments to one command: unpack fails at 5,114 on miniredis and near 8,000 on Redis
local at = 0

local function argument()
  at = at + 1
  return ARGV[at]
end

-- call gives args[first..last] to a command, in chunks, and returns the sum of its answers.
local function call(command, key, args, first, last)
  local total = 0
  for i = first, last, CHUNK do
    total = total + redis.call(command, key, unpack(args, i, math.min(i + CHUNK - 1, last)))
  end
  return total
end

local flat = redis.call('HGETALL', KEYS[1])
local stored, expected = {}, true
for i = 1, #flat, 2 do
  stored[flat[i]] = flat[i + 1]
  if string.sub(flat[i + 1], 1, 7) == 'broken:' then expected = false end
end
local marks, checkpoints = {}, {}
for _ = 1, tonumber(argument()) do
  local source, from, to = argument(), argument(), argument()
  if (stored[source] or '') ~= from then expected = false end
  local n = #marks
  marks[n + 1], marks[n + 2] = source, 'broken:' .. to
  checkpoints[n + 1], checkpoints[n + 2] = source, to
end
if not expected then return {0, flat} end

-- An error is no rollback. The mark is the first write, so that whoever comes later sees it.
call('HSET', KEYS[1], marks, 1, #marks)

local ok, why = pcall(function()
  local documents = tonumber(argument()) * 2
  call('HSET', KEYS[2], ARGV, at + 1, at + documents)
  at = at + documents

  local index, ranks = {}, {}
  for _ = 1, tonumber(argument()) do
    local id, field, delta, list = argument(), argument(), argument(), tonumber(argument())
    local sum = redis.call('HINCRBY', KEYS[3], id .. '/' .. field, delta)
    if sum == tonumber(delta) then -- so it is of every new sum
      local n = #index
      index[n + 1], index[n + 2] = '0', id .. '/s/' .. field
    end
    if list > 0 then
      local rank = ranks[list] or {}
      local n = #rank
      rank[n + 1], rank[n + 2] = string.format('%.17g', sum), id
      ranks[list] = rank
    end
  end
  call('ZADD', KEYS[6], index, 1, #index)
  for list = 7, #KEYS do
    call('ZADD', KEYS[list], ranks[list], 1, #ranks[list])
  end

  local entries, members = {}, {}
  for n = 1, 2 * tonumber(argument()), 2 do
    local id, field, value = argument(), argument(), argument()
    entries[n], entries[n + 1] = id .. '/' .. field, value
    members[n], members[n + 1] = '0', id .. '/e/' .. field
  end
  if call('HSET', KEYS[4], entries, 1, #entries) > 0 then
    call('ZADD', KEYS[6], members, 1, #members)
  end

  for _ = 1, tonumber(argument()) do
    local name, value = argument(), argument()
    if value == '' then
      redis.call('HDEL', KEYS[5], name)
    else
      redis.call('HSET', KEYS[5], name, value)
    end
  end
end)
if not ok then
  return {2, type(why) == 'table' and why.err or tostring(why)}
end

call('HSET', KEYS[1], checkpoints, 1, #checkpoints)
return {1}
