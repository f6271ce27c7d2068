-- claim.lua: take jobs for a worker. Jobs whose time has come join the tail first.
-- KEYS     the base key of each queue, in order; it and of its keys <state>, t:<state>:<tag>, j:<key>, a:<key>, b:<key>,
--          unique, wake, quarantine, minutes, hours, claim:<id> are touched
-- ARGV     1 now_ms or "" to use the server's · 2 limit · 3 claim id · 4 worker · 5 lease_ms · 6 batch · 7 how many
--          bytes the answer may hold · 8 for how many ms it is kept
-- returns  {now_ms, 1 if more could be taken, next due ms or "", {{queue number, key, run, place, started_ms,
--          lease's end in ms, {further fields, arguments and notes among them…}}, …}, {base key, key of each job that
--          was quarantined…}}
now = clock(ARGV[1])
local limit, claim, worker = tonumber(ARGV[2]), ARGV[3], ARGV[4]
local ends, batch, kept_ms = now + tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[8]
local now_text, ends_text = text(now), text(ends)
local jobs, active, repeated, next_due, more = {}, {}, {}, FOREVER, 0
room = tonumber(ARGV[7])

-- The queues that are not idle: one question for each, since a worker may serve a thousand; a single one is just asked.
for number, base in ipairs(KEYS) do
  local there = not KEYS[2] or redis.call("EXISTS", base .. ":queued", base .. ":scheduled", base .. ":retrying",
    base .. ":wake", base .. ":claim:" .. claim) > 0
  if there then
    active[#active + 1] = number
    repeated[number] = try("GET", base .. ":claim:" .. claim) or nil
  end
end

-- Seldom: something of a job lies apart. How many bytes of arguments and notes, which are added to its
-- head; nil if arguments are missing.
local function add_apart(base, key, job, flat)
  local bytes = job.A and 0 or add_arguments(base, key, flat)
  return bytes and job.B and bytes + add_notes(base, key, job.B, flat) or bytes
end

-- Seldom: this claim was answered before. Its jobs that it holds still.
local function answer_again()
  for number, keys in pairs(repeated) do
    local base = KEYS[number]
    for key in string.gmatch(keys, "%S+") do
      local job, flat = load(base, key)
      local score = job and job.s == "running" and job.c == claim and try("ZSCORE", base .. ":running", key)
      if score and add_apart(base, key, job, flat) then
        jobs[#jobs + 1] = {number, key, tonumber(job.r or 0), tonumber(job.o or 0), tonumber(job.b or 0), tonumber(score), flat}
      end
    end
  end
end

if next(repeated) then
  answer_again()
  return {now, 0, "", jobs, quarantined}
end

-- When the first job that waits for a time is due, or FOREVER; nil if an index is none.
local function first_due(base)
  local first = FOREVER
  for _, state in ipairs(WAITING) do
    local found = try("ZRANGE", base .. ":" .. state, 0, 0, "WITHSCORES")
    if not found then return nil end
    if found[2] then first = math.min(first, tonumber(found[2])) end
  end
  return first
end

-- Seldom: jobs are due. Those that can be read, the longest due first.
local function due_in(base)
  local found = {}
  for _, state in ipairs(WAITING) do
    local due = redis.call("ZRANGEBYSCORE", base .. ":" .. state, "-inf", now_text, "WITHSCORES", "LIMIT", 0, batch)
    for i = 1, #due, 2 do
      local head = try("HMGET", base .. ":j:" .. due[i], "s", "p", "v", "a", "g")
      if not head or head[1] ~= state or not is_number(head[2]) or not is_number(head[3]) or not is_number(head[4]) then
        quarantine(base, state, due[i])
      else
        found[#found + 1] = {tonumber(due[i + 1]), tonumber(head[4] or 0), due[i], state, head}
      end
    end
  end
  by_due(found)
  return found
end

-- Seldom: jobs are due. Move them to the tail.
local function promote(base, book)
  local found = due_in(base)
  local size = math.min(#found, batch)
  redis.call("ZREM", base .. ":" .. WAITING[1], "")
  local place = redis.call("HINCRBY", base, "seq", text(size)) - size
  for i = 1, size do
    local key, state, head = found[i][3], found[i][4], found[i][5]
    local score = queued_score(tonumber(head[2] or 0), place + i)
    redis.call("ZADD", base .. ":queued", score, key)
    redis.call("HSET", base .. ":j:" .. key, "s", "queued", "v", text(tonumber(head[3] or 0) + 1), "q", now_text)
    redis.call("ZREM", base .. ":" .. state, key)
    if head[5] then move_tags(base, state, "queued", head[5], score, key) end
    count(book, state .. PROMOTED, 1)
  end
end

-- Seldom: a job holds a unique key until it starts. Whether others see it as this job's is asked before any write.
local function free(base, key, job, flat)
  needs(base, "HDEL")
  job.frees = try("HGET", base .. ":unique", job.u) == key
  for i = 1, #flat, 2 do
    if flat[i] == "u" then
      table.remove(flat, i)
      table.remove(flat, i)
      return
    end
  end
end

-- Write that jobs were taken; everything is read. The first write is one that a full server accepts, and the next one
-- is refused where the index of running jobs is none: then nothing was written.
local function write(base, taken, first, loaded)
  local leases = {}
  for i, key in ipairs(taken) do
    leases[2 * i - 1] = ends_text
    leases[2 * i] = key
  end
  redis.call("ZREM", base .. ":queued", "")
  if not try("ZADD", base .. ":running", unpack(leases)) then return false end
  for i, key in ipairs(taken) do
    local name, answer, job = base .. ":j:" .. key, jobs[first + i], loaded[i]
    local run = answer[3] == 1 and "1" or text(answer[3])
    redis.call("HSET", name, "s", "running", "c", claim, "r", run, "w", worker, "b", now_text, "o", text(answer[4]))
    if job.frees ~= nil then
      if job.frees then redis.call("HDEL", base .. ":unique", job.u) end
      redis.call("HDEL", name, "u")
    end
    if job.g then move_tags(base, "queued", "running", job.g, ends_text, key) end
  end
  redis.call("ZREM", base .. ":queued", unpack(taken))
  redis.call("SET", base .. ":claim:" .. claim, table.concat(taken, " "), "PX", kept_ms)
  return true
end

-- Take as many as there is room for; how many left the queue, taken or quarantined.
local function take(number, base, book)
  local found = redis.call("ZRANGE", base .. ":queued", 0, limit - 1, "WITHSCORES")
  local taken, loaded, first, waited, bad = {}, {}, #jobs, 0, 0
  for i = 1, #found, 2 do
    local key, score = found[i], tonumber(found[i + 1])
    local job, flat, bytes = load(base, key)
    local apart = job and job.s == "queued" and score >= 0 and score < FOREVER
      and (job.A and not job.B and 0 or add_apart(base, key, job, flat))
    if not apart then
      quarantine(base, "queued", key)
      bad = bad + 1
    elseif not fits(bytes + apart) then
      break
    else
      if job.u and job.e == "start" then free(base, key, job, flat) end
      taken[#taken + 1], loaded[#loaded + 1] = key, job
      jobs[#jobs + 1] = {number, key, tonumber(job.r or 0) + 1, score % BAND, now, ends, flat}
      waited = waited + math.max(0, now - tonumber(job.q or job.a))
    end
  end
  if taken[1] and write(base, taken, first, loaded) then
    count(book, CLAIMED, #taken)
    count(book, CLAIMED_MS, waited)
    limit = limit - #taken
    return #taken + bad
  end
  for i = #jobs, first + 1, -1 do jobs[i] = nil end
  return bad
end

local function claim_from(number, base)
  local book, first, queued = open_book(base), first_due(base), try("ZCARD", base .. ":queued")
  if not (book and first and queued) or book.is_paused then return end
  if queued > 0 or first <= now then needs(base, "ZADD", "HSET", "SET", "HINCRBY") end
  if #active > 1 then
    needs(base, "HGET", "HGETALL", "ZRANGE", "ZSCORE")
    needs(base, "ZRANGEBYSCORE", "HDEL")
  end
  if first <= now then
    needs(base, "HDEL")
    if not try("ZCARD", base .. ":running") then return end
    promote(base, book)
    first, queued = first_due(base), redis.call("ZCARD", base .. ":queued")
  end
  if queued > 0 and limit > 0 and (room > 0 or not any) then queued = queued - take(number, base, book) end
  next_due = math.min(next_due, first)
  if queued > 0 then
    more = 1
    wake(base)
  else
    redis.pcall("DEL", base .. ":wake")
  end
end

keep_books(function()
  for _, number in ipairs(active) do claim_from(number, KEYS[number]) end
end)
return {now, more, next_due < FOREVER and next_due or "", jobs, quarantined}
