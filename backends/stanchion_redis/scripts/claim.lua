-- claim.lua: take jobs for a worker. Jobs whose time has come join the tail first.
-- KEYS     the base key of each queue, in order; of its keys <state>, j:<key>, unique, wake, quarantine,
--          claim:<id> are touched
-- ARGV     1 now_ms or "" to use the server's · 2 limit · 3 claim id · 4 worker · 5 lease_ms · 6 batch
-- returns  {now_ms, 1 if more could be taken, next due ms or "", {{queue number, key, run, place, started_ms,
--          lease's end in ms, {fields as they were…}}, …}}
local now, limit, claim, worker = clock(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local lease, batch = tonumber(ARGV[5]), tonumber(ARGV[6])
local now_text, ends_text = text(now), text(now + lease)
local jobs = {}

local function answer_with(number, key, run, place, started, ended, flat)
  jobs[#jobs + 1] = {number, key, run, place, started, ended, flat}
end

-- The jobs of this claim if it was answered before.
local repeated = false
for number, base in ipairs(KEYS) do
  local keys = redis.pcall("GET", base .. ":claim:" .. claim)
  if type(keys) == "string" then
    repeated = true
    for key in string.gmatch(keys, "%S+") do
      local job, flat = load(base, key)
      if job and job.s == "running" and job.c == claim then
        local score = redis.pcall("ZSCORE", base .. ":running", key)
        if type(score) == "string" then answer_with(number, key, job.r, job.o, job.b, score, flat) end
      end
    end
  end
end
if repeated then return {text(now), 0, "", jobs} end

-- Jobs that are due, oldest clock first, moved to the tail.
local function promote(base)
  local found = {}
  for _, state in ipairs({"scheduled", "retrying"}) do
    local due = redis.call("ZRANGEBYSCORE", base .. ":" .. state, "-inf", text(now), "WITHSCORES", "LIMIT", 0, batch)
    for i = 1, #due, 2 do
      local head = redis.pcall("HMGET", base .. ":j:" .. due[i], "s", "p", "v", "a")
      if head.err or head[1] ~= state or not is_number(head[2]) or not is_number(head[3]) or not is_number(head[4]) then
        quarantine(base, state, due[i], now)
      else
        found[#found + 1] = {tonumber(due[i + 1]), tonumber(head[4] or 0), due[i], state, head}
      end
    end
  end
  by_clock(found)
  for i = 1, math.min(#found, batch) do
    local key, state, head = found[i][3], found[i][4], found[i][5]
    redis.call("ZREM", base .. ":" .. state, key)
    local place = redis.call("HINCRBY", base, "seq", 1)
    redis.call("ZADD", base .. ":queued", queued_score(tonumber(head[2] or 0), place), key)
    redis.call("HSET", base .. ":j:" .. key, "s", "queued", "v", text(tonumber(head[3] or 0) + 1))
  end
end

local function take(number, base, count)
  local found = redis.call("ZRANGE", base .. ":queued", 0, count - 1, "WITHSCORES")
  local taken, leases = {}, {}
  for i = 1, #found, 2 do
    local key = found[i]
    local job, flat = load(base, key)
    local score = tonumber(found[i + 1])
    if not job or job.s ~= "queued" or score < 0 or score >= FOREVER then
      quarantine(base, "queued", key, now)
    else
      local run, place = text(tonumber(job.r or 0) + 1), text(score % BAND)
      taken[#taken + 1] = key
      leases[#leases + 1] = ends_text
      leases[#leases + 1] = key
      answer_with(number, key, run, place, now_text, ends_text, flat)
      if #taken == 1 then redis.call("ZREM", base .. ":queued", key) end
      redis.call("HSET", base .. ":j:" .. key,
        "s", "running", "c", claim, "r", run, "w", worker, "b", now_text, "o", place)
      if job.u and job.e == "start" then
        if redis.pcall("HGET", base .. ":unique", job.u) == key then redis.call("HDEL", base .. ":unique", job.u) end
        redis.call("HDEL", base .. ":j:" .. key, "u")
      end
    end
  end
  if #taken > 0 then
    redis.call("ZREM", base .. ":queued", unpack(taken))
    redis.call("ZADD", base .. ":running", unpack(leases))
    redis.call("SET", base .. ":claim:" .. claim, table.concat(taken, " "), "PX", text(math.max(lease, 1)))
  end
  return #taken
end

local next_due, more = nil, 0
for number, base in ipairs(KEYS) do
  local settings = redis.pcall("HMGET", base, "paused", "seq")
  local sound = not settings.err and is_number(settings[2]) and is_index(base .. ":queued")
    and is_index(base .. ":running") and is_index(base .. ":scheduled") and is_index(base .. ":retrying")
  if sound and settings[1] ~= "1" then
    promote(base)
    if limit > 0 then limit = limit - take(number, base, limit) end
    for _, state in ipairs({"scheduled", "retrying"}) do
      local first = redis.call("ZRANGE", base .. ":" .. state, 0, 0, "WITHSCORES")[2]
      if first and tonumber(first) < FOREVER then next_due = math.min(next_due or FOREVER, tonumber(first)) end
    end
    if redis.call("ZCARD", base .. ":queued") > 0 then
      more = 1
      wake(base)
    else
      redis.pcall("DEL", base .. ":wake")
    end
  end
end
return {text(now), more, next_due and text(next_due) or "", jobs}
