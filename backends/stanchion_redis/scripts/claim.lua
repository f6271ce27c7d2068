-- claim.lua: take jobs for a worker. Jobs whose time has come join the tail first.
-- KEYS     the base key of each queue, in order; of its keys <state>, j:<key>, unique, wake, quarantine,
--          claim:<id> are touched
-- ARGV     1 now_ms or "" to use the server's · 2 limit · 3 claim id · 4 worker · 5 lease_ms · 6 batch · 7 how many
--          bytes the answer may hold · 8 for how many ms it is kept
-- returns  {now_ms, 1 if more could be taken, next due ms or "", {{queue number, key, run, place, started_ms,
--          lease's end in ms, {fields as they were…}}, …}, {base key, key of each job that was quarantined…}}
needs({"ZREM", "ZADD", "HSET", "HDEL", "HINCRBY", "SET", "HGET", "HGETALL", "ZSCORE", "ZRANGEBYSCORE"})
local now, limit, claim, worker = clock(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local lease, batch, kept_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[8]
local now_text, ends_text = text(now), text(now + lease)
local jobs = {}
room = tonumber(ARGV[7])

local function answer_with(number, key, run, place, started, ended, flat)
  jobs[#jobs + 1] = {number, key, run, place, started, ended, flat}
end

-- The queues that are not idle: one question for each, since a worker may serve a thousand.
local active = {}
for number, base in ipairs(KEYS) do
  local there = redis.call("EXISTS", base .. ":queued", base .. ":scheduled", base .. ":retrying", base .. ":wake",
    base .. ":claim:" .. claim)
  if there > 0 then active[#active + 1] = number end
end

-- The jobs of this claim if it was answered before.
local repeated = false
for _, number in ipairs(active) do
  local base = KEYS[number]
  local keys = try("GET", base .. ":claim:" .. claim)
  if keys then
    repeated = true
    for key in string.gmatch(keys, "%S+") do
      local job, flat = load(base, key)
      if job and job.s == "running" and job.c == claim then
        local score = try("ZSCORE", base .. ":running", key)
        if score then answer_with(number, key, job.r, job.o, job.b, score, flat) end
      end
    end
  end
end
if repeated then return {text(now), 0, "", jobs, quarantined} end

-- The clock of the first job that waits in a state, or nil; and whether the index is one.
local function first_of(base, state)
  local first = try("ZRANGE", base .. ":" .. state, 0, 0, "WITHSCORES")
  return first and first[2] and tonumber(first[2]), first ~= nil
end

-- Jobs that are due, oldest clock first, moved to the tail.
local function promote(base)
  local found = {}
  for _, state in ipairs({"scheduled", "retrying"}) do
    local due = redis.call("ZRANGEBYSCORE", base .. ":" .. state, "-inf", text(now), "WITHSCORES", "LIMIT", 0, batch)
    for i = 1, #due, 2 do
      local head = try("HMGET", base .. ":j:" .. due[i], "s", "p", "v", "a")
      if not head or head[1] ~= state or not is_number(head[2]) or not is_number(head[3]) or not is_number(head[4]) then
        quarantine(base, state, due[i])
      else
        found[#found + 1] = {tonumber(due[i + 1]), tonumber(head[4] or 0), due[i], state, head}
      end
    end
  end
  by_clock(found)
  redis.call("ZREM", base .. ":scheduled", "")
  for i = 1, math.min(#found, batch) do
    local key, state, head = found[i][3], found[i][4], found[i][5]
    local place = redis.call("HINCRBY", base, "seq", 1)
    redis.call("ZADD", base .. ":queued", queued_score(tonumber(head[2] or 0), place), key)
    redis.call("HSET", base .. ":j:" .. key, "s", "queued", "v", text(tonumber(head[3] or 0) + 1))
    redis.call("ZREM", base .. ":" .. state, key)
  end
end

-- Whether a job frees its unique key now.
local function frees(base, key, job)
  return job.u and job.e == "start" and try("HGET", base .. ":unique", job.u) == key
end

local function take(number, base, count)
  local found = redis.call("ZRANGE", base .. ":queued", 0, count - 1, "WITHSCORES")
  local taken, leases = {}, {}
  for i = 1, #found, 2 do
    local key, score = found[i], tonumber(found[i + 1])
    local job, flat, bytes = load(base, key)
    if not job or job.s ~= "queued" or score < 0 or score >= FOREVER then
      quarantine(base, "queued", key)
    elseif not fits(bytes) then
      break
    else
      local run, place = text(tonumber(job.r or 0) + 1), text(score % BAND)
      local freed = frees(base, key, job)
      if #taken == 0 then redis.call("ZREM", base .. ":queued", "") end
      taken[#taken + 1] = key
      leases[#leases + 1] = ends_text
      leases[#leases + 1] = key
      answer_with(number, key, run, place, now_text, ends_text, flat)
      redis.call("HSET", base .. ":j:" .. key,
        "s", "running", "c", claim, "r", run, "w", worker, "b", now_text, "o", place)
      if freed then redis.call("HDEL", base .. ":unique", job.u) end
      if job.u and job.e == "start" then redis.call("HDEL", base .. ":j:" .. key, "u") end
    end
  end
  if #taken > 0 then
    redis.call("ZADD", base .. ":running", unpack(leases))
    redis.call("ZREM", base .. ":queued", unpack(taken))
    redis.call("SET", base .. ":claim:" .. claim, table.concat(taken, " "), "PX", kept_ms)
  end
  return #taken
end

local next_due, more = nil, 0
for _, number in ipairs(active) do
  local base = KEYS[number]
  local settings = try("HMGET", base, "paused", "seq")
  local scheduled, is_one = first_of(base, "scheduled")
  local retrying, is_other = first_of(base, "retrying")
  local sound = settings and is_number(settings[2]) and is_one and is_other and is_index(base .. ":queued")
    and is_index(base .. ":running")
  if sound and settings[1] ~= "1" then
    if math.min(scheduled or FOREVER, retrying or FOREVER) <= now then
      promote(base)
      scheduled, retrying = first_of(base, "scheduled"), first_of(base, "retrying")
    end
    if limit > 0 and (room > 0 or not any) then limit = limit - take(number, base, limit) end
    local first = math.min(scheduled or FOREVER, retrying or FOREVER)
    if first < FOREVER then next_due = math.min(next_due or FOREVER, first) end
    if redis.call("ZCARD", base .. ":queued") > 0 then
      more = 1
      wake(base)
    else
      redis.pcall("DEL", base .. ":wake")
    end
  end
end
return {text(now), more, next_due and text(next_due) or "", jobs, quarantined}
