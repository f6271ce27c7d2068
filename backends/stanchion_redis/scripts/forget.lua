-- forget.lua: remove a queue that has no jobs.
-- KEYS     1 the base key of the queue; of its keys <state>, quarantine are read; it and unique, wake, minutes, hours are
--          removed
-- ARGV     none
-- returns  1 if it is gone, 0 if it has jobs
local base = KEYS[1]
if redis.call("ZCARD", base .. ":quarantine") > 0 then return 0 end
for _, state in ipairs(STATES) do
  if redis.call("ZCARD", base .. ":" .. state) > 0 then return 0 end
end
redis.call("DEL", base, base .. ":unique", base .. ":wake", base .. ":minutes", base .. ":hours")
return 1
