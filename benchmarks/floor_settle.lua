-- floor_settle.lua: complete jobs that are still held.
-- KEYS     1 zset of completed jobs · 2 prefix of the jobs' hashes · 3 zset of running jobs
-- ARGV     1 token · 2 time in ms · then for each job: id · result
-- returns  how many were completed
local count = 0
for i = 3, #ARGV, 2 do
  local name = KEYS[2] .. ARGV[i]
  local found = redis.call("HMGET", name, "state", "token")
  if found[1] == "running" and found[2] == ARGV[1] then
    redis.call("ZREM", KEYS[3], ARGV[i])
    redis.call("HSET", name, "state", "completed", "result", ARGV[i + 1], "ended", ARGV[2])
    redis.call("HDEL", name, "token")
    redis.call("ZADD", KEYS[1], ARGV[2], ARGV[i])
    count = count + 1
  end
end
return count
