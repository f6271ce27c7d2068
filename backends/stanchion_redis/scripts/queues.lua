-- queues.lua: the settings of queues.
-- KEYS     the base key of each queue; it is read
-- ARGV     the names of the settings that are asked for
-- returns  for each queue: their values as JSON, in that order, "" where one has its default
local answers = {}
for number, base in ipairs(KEYS) do
  local values = try("HMGET", base, unpack(ARGV)) or {}
  for i = 1, #ARGV do values[i] = values[i] or "" end
  answers[number] = values
end
return answers
