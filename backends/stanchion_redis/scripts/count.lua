-- count.lua: how many jobs are in each state, and how many are quarantined.
-- KEYS     the base key of each queue; of its keys <state>, quarantine are read
-- ARGV     none
-- returns  for each queue: the counts of the states, in the order of STATES, and that of the quarantine
local answers = {}
for number, base in ipairs(KEYS) do
  local counts = {}
  for i, state in ipairs(STATES) do counts[i] = try("ZCARD", base .. ":" .. state) or 0 end
  counts[#STATES + 1] = try("ZCARD", base .. ":quarantine") or 0
  answers[number] = counts
end
return answers
