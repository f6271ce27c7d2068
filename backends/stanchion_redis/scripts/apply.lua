-- apply.lua: make changes that core decided, each whole or not at all.
-- KEYS     the base key of each queue; of its keys j:<key>, <state>, unique, wake, quarantine are touched
-- ARGV     1 now_ms or "" to use the server's · then for each change: queue number · key · state it must be in ·
--          claim or "" · revision or "" · "1" if it must be due · state it goes to, "" to delete · clock ("k" keep,
--          "n" none, "+ms" from now, "=ms") · "t" for the tail, "" to keep the place · priority, "" to keep it ·
--          digest of a unique key to take, "-" to free it, "" to keep it · how many fields to set n · n times name,
--          value · how many to stamp with the time · names · how many to erase · names · how many lists to append
--          to · for each name, data
-- returns  {now_ms, for each change: its new revision, or {word, score, fields…}}; words: absent, claim, state, due,
--          revision, unique
local now = clock(ARGV[1])
local at = 2

local function next_argument()
  at = at + 1
  return ARGV[at - 1]
end

local function next_arguments(width)
  local count = tonumber(next_argument()) * width
  local values = {}
  for i = 1, count do values[i] = ARGV[at + i - 1] end
  at = at + count
  return values
end

local changes, checked = {}, {}
while at <= #ARGV do
  local change = {
    base = KEYS[tonumber(next_argument())], key = next_argument(), state = next_argument(), claim = next_argument(),
    revision = next_argument(), if_due = next_argument(), to = next_argument(), clock = next_argument(),
    place = next_argument(), priority = next_argument(), unique = next_argument(), sets = next_arguments(2),
    stamps = next_arguments(1), erasures = next_arguments(1), appends = next_arguments(2),
  }
  changes[#changes + 1] = change
  for _, index in ipairs({change.state, change.to ~= "" and change.to or change.state}) do
    local name = change.base .. ":" .. index
    if not checked[name] then
      checked[name] = true
      if not is_index(name) then return redis.error_reply("CORRUPT " .. name .. " is not a sorted set") end
    end
  end
end

local function refuse(change, word, score)
  local answer = {word, score}
  local flat = redis.pcall("HGETALL", change.base .. ":j:" .. change.key)
  if not flat.err then for i = 1, #flat do answer[2 + i] = flat[i] end end
  return answer
end

-- The score a job has after the change.
local function new_score(change, job, score)
  if change.to == "queued" then
    local place = job.o
    if job.s == "queued" then place = text(tonumber(score) % BAND) end
    if change.place == "t" then place = redis.call("HINCRBY", change.base, "seq", 1) end
    return queued_score(tonumber(job.p or 0), tonumber(place or 0))
  end
  local mode, new = string.sub(change.clock, 1, 1), FOREVER + now
  if mode == "+" or mode == "=" then
    new = tonumber(string.sub(change.clock, 2)) + (mode == "+" and now or 0)
  elseif mode == "k" and job.s ~= "queued" then
    new = tonumber(score)
  end
  if change.to == "running" and job.s == "running" and new < FOREVER and tonumber(score) < FOREVER then
    new = math.max(new, tonumber(score))
  end
  return text(new)
end

local function free(change, job)
  if job.u and redis.pcall("HGET", change.base .. ":unique", job.u) == change.key then
    redis.call("HDEL", change.base .. ":unique", job.u)
  end
end

local function apply(change)
  local base, key = change.base, change.key
  local name = base .. ":j:" .. key
  local fields = {"t", "s", "c", "v", "p", "o", "u", "z"}
  for i = 1, #change.appends, 2 do fields[#fields + 1] = "l." .. change.appends[i] end
  local found = redis.pcall("HMGET", name, unpack(fields))
  if not found.err and not found[1] and not found[2] and redis.call("EXISTS", name) == 0 then return {"absent", ""} end
  if found.err or not found[1] or not IS_STATE[found[2]] or not is_number(found[4]) or not is_number(found[5])
    or not is_number(found[6]) then
    quarantine(base, change.state, key, now)
    return {"absent", ""}
  end
  local job = {s = found[2], c = found[3], v = tonumber(found[4] or 0), p = found[5], o = found[6], u = found[7], z = found[8]}
  local score = redis.pcall("ZSCORE", base .. ":" .. job.s, key)
  if type(score) ~= "string" then
    quarantine(base, change.state, key, now)
    return {"absent", ""}
  end

  if change.claim ~= "" and job.c ~= change.claim then return refuse(change, "claim", score) end
  if job.s ~= change.state then return refuse(change, "state", score) end
  if change.if_due == "1" and (job.s == "queued" or tonumber(score) > now) then return refuse(change, "due", score) end
  if change.revision ~= "" and tonumber(change.revision) ~= job.v then return refuse(change, "revision", score) end
  local digest = change.unique ~= "" and change.unique ~= "-" and change.unique or nil
  if digest then
    local holder = redis.pcall("HGET", base .. ":unique", digest)
    if type(holder) == "string" and holder ~= key then return refuse(change, "unique", score) end
  end

  -- Everything is known; from here on, only writes. The first is one that a full server accepts.
  redis.call("ZREM", base .. ":" .. job.s, key)
  if change.to == "" then
    free(change, job)
    redis.call("DEL", name)
    return job.v + 1
  end
  if change.priority ~= "" then job.p = change.priority end
  redis.call("ZADD", base .. ":" .. change.to, new_score(change, job, score), key)

  local sets, erased = change.sets, change.erasures
  local function set(field, value)
    sets[#sets + 1] = field
    sets[#sets + 1] = value
  end
  local revision = job.v
  if change.claim == "" then
    revision = revision + 1
    set("v", text(revision))
  end
  if change.to ~= job.s then set("s", change.to) end
  if job.s == "queued" and change.to ~= "queued" then set("o", text(tonumber(score) % BAND)) end
  if change.priority ~= "" then set("p", change.priority) end
  for _, field in ipairs(change.stamps) do set(field, text(now)) end
  for i = 1, #change.appends, 2 do
    local count = tonumber(found[8 + (i + 1) / 2] or 0) or 0
    local list = "l." .. change.appends[i]
    set(list, text(count + 1))
    set(list .. "." .. text(count + 1), text(now) .. ":" .. change.appends[i + 1])
    if count >= LIST_LENGTH then erased[#erased + 1] = list .. "." .. text(count + 1 - LIST_LENGTH) end
  end
  if job.s == "running" and change.to ~= "running" then
    erased[#erased + 1] = "c"
    erased[#erased + 1] = "w"
  end
  if FINAL[change.to] and not FINAL[job.s] then set("z", text(now)) end
  if FINAL[job.s] and not FINAL[change.to] then erased[#erased + 1] = "z" end
  if digest then
    free(change, job)
    redis.call("HSET", base .. ":unique", digest, key)
    set("u", digest)
  elseif change.unique == "-" then
    free(change, job)
    erased[#erased + 1] = "u"
  end
  if #sets > 0 then redis.call("HSET", name, unpack(sets)) end
  if #erased > 0 then redis.call("HDEL", name, unpack(erased)) end
  return revision
end

local answers, channels = {text(now)}, {}
local function publish(change, topic)
  local channel = change.base .. ":" .. topic
  channels[channel] = channels[channel] or {}
  table.insert(channels[channel], change.key)
end
for _, change in ipairs(changes) do
  local answer = apply(change)
  answers[#answers + 1] = answer
  if type(answer) == "number" then
    if change.to == "" or FINAL[change.to] then publish(change, "ended") end
    if change.to == "running" and change.claim == "" then publish(change, "touched") end
    if change.to == "queued" then wake(change.base) end
    if change.to == "scheduled" or change.to == "retrying" then wake_if_first(change.base, change.to, change.key) end
  end
end
for channel, keys in pairs(channels) do redis.pcall("PUBLISH", channel, table.concat(keys, " ")) end
return answers
