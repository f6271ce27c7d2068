-- get.lua: read jobs, heads and bodies.
-- KEYS     the base key of each queue; of its keys j:<key>, a:<key>, b:<key>, <state> are read
-- ARGV     for each job: queue number · key
-- returns  for each job: {queue number, key, score, {fields, arguments, notes and lists among them…}}, or 0 where there
--          is none that can be read
local function read(number, key)
  local base = KEYS[number]
  local job, flat = load(base, key)
  local score = job and try("ZSCORE", base .. ":" .. job.s, key)
  if not score or not (job.A or add_arguments(base, key, flat)) then return 0 end
  local body = job.B and try("HGETALL", base .. ":b:" .. key) or {}
  local n = #flat
  for i = 1, #body do flat[n + i] = body[i] end
  return {number, key, score, flat}
end

local answers = {}
for i = 1, #ARGV, 2 do answers[#answers + 1] = read(tonumber(ARGV[i]), ARGV[i + 1]) end
return answers
