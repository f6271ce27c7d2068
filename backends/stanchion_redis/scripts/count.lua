-- count.lua: how many jobs are in each state.
-- KEYS     the base key of each queue; of its keys <state> are read
-- ARGV     none
-- returns  for each queue: the counts of the states, in the order of STATES
local answers = {}
for number, base in ipairs(KEYS) do
  local counts = {}
  for i, state in ipairs(STATES) do
    local count = redis.pcall("ZCARD", base .. ":" .. state)
    counts[i] = type(count) == "number" and count or 0
  end
  answers[number] = counts
end
return answers
