-- queues.lua: the settings of queues.
-- KEYS     the base key of each queue; it is read
-- ARGV     none
-- returns  for each queue: "1" if it is paused, else ""
local answers = {}
for number, base in ipairs(KEYS) do answers[number] = try("HGET", base, "paused") or "" end
return answers
