-- list.lua: one page of the jobs in a state, in the order of its index.
-- KEYS     1 the base key of the queue; of its keys <state>, j:<key> are read
-- ARGV     1 state · 2 size of the page · 3 score and 4 key of the last job of the page before, or "" and "" · 5 how many
--          bytes the page may hold
-- returns  {1 if there is more, {1, key, score, fields…}, …}
local base, index, size = KEYS[1], KEYS[1] .. ":" .. ARGV[1], tonumber(ARGV[2])
local score, last = tonumber(ARGV[3]), ARGV[4]
room = tonumber(ARGV[5])

-- How many stand at or before the last job seen, found by halving: it may have moved since.
local low, high = 0, score and redis.call("ZCARD", index) or 0
while low < high do
  local middle = math.floor((low + high) / 2)
  local one = redis.call("ZRANGE", index, middle, middle, "WITHSCORES")
  local value = tonumber(one[2])
  if value < score or (value == score and not before(last, one[1])) then low = middle + 1 else high = middle end
end

local found = redis.call("ZRANGE", index, low, low + size, "WITHSCORES")
local answers = {#found > 2 * size and 1 or 0}
for i = 1, math.min(#found, 2 * size), 2 do
  local job, flat, bytes = load(base, found[i])
  if job and not fits(bytes) then
    answers[1] = 1
    break
  end
  local answer = {1, found[i], found[i + 1]}
  if job then for _, value in ipairs(flat) do answer[#answer + 1] = value end end
  answers[#answers + 1] = answer
end
return answers
