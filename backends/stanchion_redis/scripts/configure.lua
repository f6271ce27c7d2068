-- configure.lua: set a queue's settings.
-- KEYS     1 the base key of the queue; of its keys wake is touched
-- ARGV     1 "1" if it is paused, else ""
-- returns  1
if ARGV[1] == "1" then
  redis.call("HSET", KEYS[1], "paused", "1")
else
  redis.call("HDEL", KEYS[1], "paused")
  wake(KEYS[1])
end
return 1
