-- floor_claim.lua: take jobs.
-- KEYS     1 zset of waiting jobs · 2 prefix of the jobs' hashes · 3 zset of running jobs
-- ARGV     1 how many · 2 token · 3 time in ms · 4 end of the lease in ms
-- returns  for each job: id, payload
local ids = redis.call("ZRANGE", KEYS[1], 0, ARGV[1] - 1)
local answers = {}
for i, id in ipairs(ids) do
  local name = KEYS[2] .. id
  local found = redis.call("HMGET", name, "payload", "run")
  redis.call("ZREM", KEYS[1], id)
  redis.call("ZADD", KEYS[3], ARGV[4], id)
  redis.call("HSET", name, "state", "running", "token", ARGV[2], "started", ARGV[3], "run", (found[2] or 0) + 1)
  answers[2 * i - 1] = id
  answers[2 * i] = found[1]
end
return answers
