-- count.lua: how many jobs are in each state, and how many are quarantined.
-- KEYS     the base key of each queue; of its keys <state>, t:<state>:<tag>, quarantine are read
-- ARGV     1 the tag of the jobs to count, or "" for all
-- returns  for each queue: the counts of the states, in the order of STATES, and that of the quarantine
local answers = {}
for number, base in ipairs(KEYS) do
  local counts = {}
  for i, state in ipairs(STATES) do
    local index = ARGV[1] == "" and base .. ":" .. state or base .. ":t:" .. state .. ":" .. ARGV[1]
    counts[i] = try("ZCARD", index) or 0
  end
  counts[#STATES + 1] = try("ZCARD", base .. ":quarantine") or 0
  answers[number] = counts
end
return answers
