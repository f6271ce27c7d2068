-- apply.lua: make changes that core decided, each whole or not at all.
-- KEYS     the base key of each queue; of its keys j:<key>, <state>, unique, wake, quarantine are touched
-- ARGV     1 now_ms or "" to use the server's · number of indexes n · n times queue number, state: those the changes
--          touch · number of plans n · n plans · then the changes.
--          A plan is what many changes have in common: state they must be found in · "1" if they must be due · state
--          they go to, "" to delete · clock ("k" keep, "n" none, "+ms" from now, "=ms") · "t" for the tail, "" to keep
--          the place · priority, "" to keep it · digest of a unique key to take, "-" to free it, "" to keep it ·
--          channel on which it is heard of, or "" · then four times a number n and n names: fields to set, to stamp with the time, to erase, lists to append to.
--          A change: queue number · key · plan number · claim or "" · instant of its creation in ms or "" · revision
--          or "" · a value for each field to set ·
--          an entry for each list
-- returns  {now_ms, {base key, key of each job that was quarantined…}, for each change: its new revision, or
--          {word, score, fields…}}; words: absent, claim, state, due, revision, unique
local now = clock(ARGV[1])
local now_text = text(now)
local at = 2

local function argument()
  at = at + 1
  return ARGV[at - 1]
end

local function names(prefix)
  local found = {}
  for i = 1, tonumber(argument()) do found[i] = prefix .. argument() end
  return found
end

for _ = 1, tonumber(argument()) do
  local index = KEYS[tonumber(argument())] .. ":" .. argument()
  if not is_index(index) then return redis.error_reply("CORRUPT " .. index .. " is not a sorted set") end
end

-- The score of jobs whose clock is not their own: the same for all changes of a plan; else nil.
local function common_score(plan)
  local mode, ms = string.sub(plan.clock, 1, 1), tonumber(string.sub(plan.clock, 2))
  if plan.to == "" or plan.to == "queued" or (plan.state == "running" and plan.to == "running") then return nil end
  if mode == "+" then return text(now + ms) end
  if mode == "=" then return text(ms) end
  if mode == "n" or plan.state == "queued" then return text(FOREVER + now) end
  return nil
end

local function read_plan()
  local plan = {state = argument(), if_due = argument() == "1", to = argument(), clock = argument(),
    tail = argument() == "t", priority = argument(), unique = argument(), topic = argument(), sets = names("n."), stamps = names("n."),
    erased = names("n."), lists = names("l.")}
  plan.score = common_score(plan)
  plan.reads_score = plan.if_due or plan.state == "queued" or (not plan.score and plan.to ~= "")
  plan.fields = {"t", "s", "c", "v", "p", "o", "u", "a"}
  for _, list in ipairs(plan.lists) do plan.fields[#plan.fields + 1] = list end
  if plan.state == "running" and plan.to ~= "running" then
    plan.erased[#plan.erased + 1] = "c"
    plan.erased[#plan.erased + 1] = "w"
  end
  if FINAL[plan.state] and not FINAL[plan.to] then plan.erased[#plan.erased + 1] = "z" end
  plan.ends = FINAL[plan.to] and not FINAL[plan.state]
  plan.takes = plan.unique ~= "" and plan.unique ~= "-"
  return plan
end

local plans, takes, writes = {}, false, {"ZADD", "HSET", "HDEL"}
for i = 1, tonumber(argument()) do
  plans[i] = read_plan()
  takes = takes or plans[i].takes
  if plans[i].to == "" then writes[4] = "DEL" end
end
for _, base in ipairs(KEYS) do needs(base, writes) end
for _, base in ipairs(takes and KEYS or {}) do
  local holders = base .. ":unique"
  if not try("HLEN", holders) then return redis.error_reply("CORRUPT " .. holders .. " is not a hash") end
end

local function refuse(word, base, state, key)
  local score = standing(base, state, key)
  if not score then return {"absent", ""} end
  local answer = {word, score}
  local job, flat = load(base, key)
  if job then for i = 1, #flat do answer[2 + i] = flat[i] end end
  return answer
end

-- The score of a job that goes to the queue, or whose clock stays, or is a lease that must not move back.
local function own_score(plan, base, found, score)
  if plan.to == "queued" then
    local place = found[6]
    if plan.state == "queued" then place = tonumber(score) % BAND end
    if plan.tail then place = redis.call("HINCRBY", base, "seq", 1) end
    return queued_score(tonumber(plan.priority ~= "" and plan.priority or found[5] or 0), tonumber(place or 0))
  end
  local mode, ms = string.sub(plan.clock, 1, 1), tonumber(string.sub(plan.clock, 2))
  local old, new = tonumber(score), FOREVER + now
  if mode == "k" then new = old elseif mode == "+" then new = now + ms elseif mode == "=" then new = ms end
  if plan.state == "running" and old < FOREVER and new < FOREVER then new = math.max(old, new) end
  return text(new)
end

-- How many entries were ever appended to a list; a damaged number begins anew.
local function appended(count)
  return is_number(count) and tonumber(count or 0) or 0
end

-- The fields to set, as arguments of HSET.
local function new_fields(plan, found, score, revision, at_values)
  local sets = {}
  for i, name in ipairs(plan.sets) do
    sets[2 * i - 1] = name
    sets[2 * i] = ARGV[at_values + i - 1]
  end
  local n = #sets
  local function set(field, value)
    sets[n + 1] = field
    sets[n + 2] = value
    n = n + 2
  end
  if plan.to ~= plan.state then set("s", plan.to) end
  if revision then set("v", revision) end
  if plan.ends then set("z", now_text) end
  if plan.state == "queued" and plan.to ~= "queued" then set("o", text(tonumber(score) % BAND)) end
  if plan.priority ~= "" then set("p", plan.priority) end
  if plan.takes then set("u", plan.unique) end
  for _, name in ipairs(plan.stamps) do set(name, now_text) end
  for i, list in ipairs(plan.lists) do
    local number = text(appended(found[8 + i]) + 1)
    set(list, number)
    set(list .. "." .. number, now_text .. ":" .. ARGV[at_values + #plan.sets + i - 1])
  end
  return sets
end

-- The entries of a list that are kept no longer once one of so many bytes is appended: too many, or too large together.
local function outgrown(name, list, count, bytes, erased)
  local full = false
  for number = count, math.max(1, count + 1 - LIST_LENGTH), -1 do
    local field = list .. "." .. text(number)
    local entry = try("HGET", name, field)
    if not entry then return end
    bytes = bytes + #entry - #now_text - 1
    full = full or bytes > LIST_BYTES or count + 1 - number >= LIST_LENGTH
    if full then erased[#erased + 1] = field end
  end
end

local function old_fields(plan, name, found, at_values)
  local erased = plan.erased
  if plan.unique ~= "-" and #plan.lists == 0 then return erased end
  erased = {unpack(erased)}
  if plan.unique == "-" then erased[#erased + 1] = "u" end
  for i, list in ipairs(plan.lists) do
    outgrown(name, list, appended(found[8 + i]), #ARGV[at_values + #plan.sets + i - 1], erased)
  end
  return erased
end

-- Whether a job holds the unique key it says it holds, so that it can free it.
local function holds(base, key, digest)
  return digest and try("HGET", base .. ":unique", digest) == key
end

local begun = false
local function apply(plan, base, key, claim, created, revision, at_values)
  local name, index = base .. ":j:" .. key, base .. ":" .. plan.state
  local found = redis.pcall("HMGET", name, unpack(plan.fields))
  if found.err then found = try("HMGET", name, unpack(plan.fields)) end
  if found and not found[1] and not found[2] and #redis.call("HGETALL", name) == 0 then return {"absent", ""} end
  local state = found and found[2]
  if not found or not found[1] or not IS_STATE[state] or not is_number(found[4]) or not is_number(found[5])
    or not is_number(found[6]) then
    quarantine(base, plan.state, key)
    return {"absent", ""}
  end
  if created ~= "" and found[8] ~= created then return {"absent", ""} end
  local old = tonumber(found[4] or 0)
  if claim ~= "" and found[3] ~= claim then return refuse("claim", base, state, key) end
  if state ~= plan.state then return refuse("state", base, state, key) end
  -- Where the score does not matter, neither does it whether the job is listed: afterwards it is.
  local score = plan.reads_score and (redis.call("ZSCORE", index, key) or standing(base, state, key))
  if plan.reads_score and not score then return {"absent", ""} end
  if plan.if_due and (state == "queued" or tonumber(score) > now) then return refuse("due", base, state, key) end
  if revision ~= "" and tonumber(revision) ~= old then return refuse("revision", base, state, key) end
  if plan.takes then
    local holder = redis.call("HGET", base .. ":unique", plan.unique)
    if holder and holder ~= key then return refuse("unique", base, state, key) end
  end
  local frees = (plan.unique ~= "" or plan.to == "") and holds(base, key, found[7])
  local erased = old_fields(plan, name, found, at_values)

  -- Everything is known; from here on, only writes. The first is one that a full server accepts.
  if not begun then redis.call("ZREM", index, "") end
  begun = true
  local target = plan.score or (plan.to ~= "" and own_score(plan, base, found, score))
  if frees then redis.call("HDEL", base .. ":unique", found[7]) end
  if plan.to == "" then
    redis.call("ZREM", index, key)
    redis.call("DEL", name)
    return old + 1
  end
  local new = claim == "" and old + 1 or old
  redis.call("ZADD", base .. ":" .. plan.to, target, key)
  if plan.takes then redis.call("HSET", base .. ":unique", plan.unique, key) end
  local sets = new_fields(plan, found, score, claim == "" and text(new), at_values)
  if #sets > 0 then redis.call("HSET", name, unpack(sets)) end
  if #erased > 0 then redis.call("HDEL", name, unpack(erased)) end
  if plan.to ~= state then redis.call("ZREM", index, key) end
  return new
end

local answers, channels = {now_text, quarantined}, {}
local function publish(base, topic, key)
  local channel = base .. ":" .. topic
  local keys = channels[channel]
  if keys then keys[#keys + 1] = key else channels[channel] = {key} end
end

while at <= #ARGV do
  local base, key, plan, claim = KEYS[tonumber(ARGV[at])], ARGV[at + 1], plans[tonumber(ARGV[at + 2])], ARGV[at + 3]
  local answer = apply(plan, base, key, claim, ARGV[at + 4], ARGV[at + 5], at + 6)
  at = at + 6 + #plan.sets + #plan.lists
  answers[#answers + 1] = answer
  if type(answer) == "number" then
    if plan.topic ~= "" then publish(base, plan.topic, key) end
    if plan.to == "queued" then wake(base) end
    if plan.to == "scheduled" or plan.to == "retrying" then wake_if_first(base, plan.to, key) end
  end
end
for channel, keys in pairs(channels) do redis.pcall("PUBLISH", channel, table.concat(keys, " ")) end
return answers
