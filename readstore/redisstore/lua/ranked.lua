-- Reads a page of a ranked list, highest sum first, equal sums by id in descending byte order.
-- KEYS: checkpoints, the list. ARGV: how many, then nothing, or sum and id of the last place seen.
-- Answers {checkpoints, {id, sum, ...}}.
local limit = tonumber(ARGV[1])
if limit == 0 then return {checkpoints, {}} end

-- below compares bytes: Lua's < follows the server's locale.
local function below(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- The places before first have a higher sum, or the same and an id not below the one seen.
local first = 0
if #ARGV == 3 then
  first = redis.call('ZCOUNT', KEYS[2], '(' .. ARGV[2], '+inf')
  local last = redis.call('ZCOUNT', KEYS[2], ARGV[2], '+inf')
  while first < last do
    local middle = math.floor((first + last) / 2)
    if below(redis.call('ZREVRANGE', KEYS[2], middle, middle)[1], ARGV[3]) then
      last = middle
    else
      first = middle + 1
    end
  end
end
return {checkpoints, redis.call('ZREVRANGE', KEYS[2], first, first + limit - 1, 'WITHSCORES')}
