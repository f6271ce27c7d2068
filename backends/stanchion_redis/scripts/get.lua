-- get.lua: read jobs.
-- KEYS     the base key of each queue; of its keys j:<key>, <state> are read
-- ARGV     for each job: queue number · key
-- returns  for each job: {queue number, key, score, fields…}, or 0 where there is none that can be read
local answers = {}
for i = 1, #ARGV, 2 do
  local number, key = tonumber(ARGV[i]), ARGV[i + 1]
  local base, answer = KEYS[number], 0
  local job, flat = load(base, key)
  local score = job and try("ZSCORE", base .. ":" .. job.s, key)
  if score then
    answer = {number, key, score}
    for _, value in ipairs(flat) do answer[#answer + 1] = value end
  end
  answers[#answers + 1] = answer
end
return answers
