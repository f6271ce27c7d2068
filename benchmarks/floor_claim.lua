-- floor_claim.lua: take jobs.
-- KEYS     1 zset of waiting jobs · 2 prefix of the jobs' hashes · 3 zset of running jobs
-- ARGV     1 how many · 2 token · 3 end of the lease in ms
-- returns  for each job: id, payload
local ids = redis.call("ZRANGE", KEYS[1], 0, ARGV[1] - 1)
local answers = {}
for i, id in ipairs(ids) do
  redis.call("ZREM", KEYS[1], id)
  redis.call("ZADD", KEYS[3], ARGV[3], id)
  redis.call("HSET", KEYS[2] .. id, "state", "running", "token", ARGV[2], "run", "1")
  answers[2 * i - 1] = id
  answers[2 * i] = redis.call("HGET", KEYS[2] .. id, "payload")
end
return answers
