-- floor_insert.lua: store jobs.
-- KEYS     1 zset of waiting jobs · 2 prefix of the jobs' hashes
-- ARGV     1 score of the first · then for each job: id · payload
-- returns  how many
local score = tonumber(ARGV[1])
for i = 2, #ARGV, 2 do
  redis.call("HSET", KEYS[2] .. ARGV[i], "state", "queued", "payload", ARGV[i + 1])
  redis.call("ZADD", KEYS[1], score, ARGV[i])
  score = score + 1
end
return (#ARGV - 1) / 2
