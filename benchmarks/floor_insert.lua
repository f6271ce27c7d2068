-- floor_insert.lua: store jobs, unless their id is taken.
-- KEYS     1 zset of waiting jobs · 2 prefix of the jobs' hashes
-- ARGV     1 time in ms · 2 score of the first · then for each job: id · payload
-- returns  how many
local score, created = tonumber(ARGV[2]), 0
for i = 3, #ARGV, 2 do
  local name = KEYS[2] .. ARGV[i]
  if redis.call("EXISTS", name) == 0 then
    redis.call("HSET", name, "task", "noop", "state", "queued", "created", ARGV[1], "payload", ARGV[i + 1])
    redis.call("ZADD", KEYS[1], score, ARGV[i])
    created = created + 1
  end
  score = score + 1
end
return created
