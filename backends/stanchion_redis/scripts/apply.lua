-- apply.lua: make changes that core decided, each whole or not at all.
-- KEYS     the base key of each queue; it and of its keys j:<key>, a:<key>, b:<key>, <state>, t:<state>:<tag>, unique, wake,
--          quarantine, minutes, hours are touched
-- ARGV     1 now_ms or "" to use the server's · number of indexes n · n times queue number, state: those the changes
--          touch · number of plans n · n plans · then the changes.
--          A plan is what many changes have in common: state they must be found in · flags: "d" they must be due, "t"
--          they go to the tail, "f" their deadline only moves forward, "c" they ask to cancel · state they go to, "" to
--          delete · due ("k" keep, "n" none, "+ms" from now, "=ms") · priority, "" to keep it · unique key: "+" and its
--          digest to take it, "-" to free the one it has, "" to keep that · tags: "+" and the tags, "-" for none, "" to
--          keep them · channel on which it is published, or "" · row of the ledger, or "" · field since when they were
--          in their state, or "" · number of fields n · n times name, value: fields to set · then fields to stamp with
--          the time · fields to erase · fields each change has a value for · notes to write · notes to erase · lists to
--          append to: names separated by spaces.
--          A change: queue number · key · plan number · claim or "" · instant of its creation in ms or "" · revision
--          or "" · its values, in this order: of fields, the reason to cancel, of notes, entries of lists
-- returns  {now_ms, {base key, key of each job that was quarantined…}, for each change: its new revision, or
--          {word, score, {fields…, list history…}}}; words: absent, claim, state, due, revision, unique
now = clock(ARGV[1])
local at, now_text, plans, takes, hdel, del, begun = 3 + 2 * tonumber(ARGV[2]), text(now), {}, false, nil, nil, false
local answers, channels = {now, quarantined}, {}

for i = 3, at - 1, 2 do
  local index = KEYS[tonumber(ARGV[i])] .. ":" .. ARGV[i + 1]
  if not try("ZCARD", index) then return redis.error_reply("CORRUPT " .. index .. " is not a sorted set") end
end

-- The next argument, names separated by spaces, behind what is there.
local function add_words(found, prefix)
  local argument = ARGV[at]
  at = at + 1
  if argument ~= "" then
    for word in string.gmatch(argument, "%S+") do found[#found + 1] = prefix .. word end
  end
  return found
end

-- The score of jobs whose deadline is not their own: the same for all changes of a plan; else nil.
local function common_score(plan)
  local mode = string.sub(plan.due, 1, 1)
  if plan.to == "" or plan.to == "queued" or plan.forward then return nil end
  if mode == "+" or mode == "=" then return text(instant(plan.due)) end
  if mode == "n" or plan.state == "queued" then return text(FOREVER + now) end
  return nil
end

-- Which fields of a job a plan needs to know, and where some of them are in the reply.
local function fields_of(plan)
  local fields, n = {"t", "s", "v", "c", "B", "g", "a"}, 7
  if plan.since ~= "" then
    n = n + 1
    fields[n] = plan.since
  end
  if plan.unique ~= "" or plan.to == "" then
    n = n + 1
    fields[n], plan.at_unique = "u", n
  end
  if plan.to == "queued" then fields[n + 1], fields[n + 2], plan.at_priority = "p", "o", n + 1 end
  if plan.to == "" then fields[n + 1], plan.at_arguments = "A", n + 1 end
  return fields
end

local function read_plan()
  local flags = ARGV[at + 1]
  local plan = {state = ARGV[at], to = ARGV[at + 2], due = ARGV[at + 3], priority = ARGV[at + 4], unique = ARGV[at + 5],
    tags = ARGV[at + 6], topic = ARGV[at + 7], row = ARGV[at + 8], since = ARGV[at + 9]}
  if flags ~= "" then
    plan.if_due, plan.tail = string.find(flags, "d", 1, true), string.find(flags, "t", 1, true)
    plan.forward, plan.cancels = string.find(flags, "f", 1, true), string.find(flags, "c", 1, true)
  end
  local sets = {unpack(ARGV, at + 11, at + 10 + 2 * tonumber(ARGV[at + 10]))}
  at = at + 11 + #sets
  for field in string.gmatch(ARGV[at], "%S+") do add(sets, field, now_text) end
  if plan.to ~= plan.state then add(sets, "s", plan.to) end
  at = at + 1
  plan.sets, plan.erased = sets, add_words({}, "")
  plan.fields_set, plan.notes = add_words({}, ""), add_words({}, "n.")
  add_words(plan.erased, "n.")
  plan.lists = add_words({}, "l.")
  plan.takes = string.sub(plan.unique, 1, 1) == "+" and string.sub(plan.unique, 2)
  plan.values = #plan.fields_set + (plan.cancels and 1 or 0) + #plan.notes + #plan.lists
  plan.score = common_score(plan)
  plan.reads_score = plan.if_due or plan.state == "queued" or plan.to == plan.state or (not plan.score and plan.to ~= "")
  plan.fields = fields_of(plan)
  return plan
end

at = at + 1
for i = 1, tonumber(ARGV[at - 1]) do
  local plan = read_plan()
  plans[i], takes = plan, takes or plan.takes
  if #plan.erased + #plan.notes + #plan.lists > 0 or plan.unique ~= "" or plan.to == "" then hdel = "HDEL" end
  if plan.to == "" or #plan.notes + #plan.lists > 0 then del = "DEL" end
end
for _, base in ipairs(KEYS) do
  if not open_book(base) then return redis.error_reply("CORRUPT " .. base .. " is not what it should be") end
  needs(base, "ZADD", "HSET", "HINCRBY", hdel)
  if del then needs(base, del) end
  if takes and not try("HLEN", base .. ":unique") then
    return redis.error_reply("CORRUPT " .. base .. ":unique is not a hash")
  end
end

-- Seldom: a list is read or appended to. How many entries it ever had; a damaged number begins anew.
local function appended(number)
  return number and is_number(number) and tonumber(number) or 0
end

-- Seldom: a change is refused. Add the job's history to its flat head: a repetition is recognised by it.
local function add_history(base, key, job, flat)
  local name, list = base .. ":b:" .. key, "l." .. HISTORY
  local last = job.B and appended((try("HMGET", name, list) or {})[1]) or 0
  if last == 0 then return end
  local fields = {}
  for number = math.max(1, last + 1 - LIST_LENGTH), last do fields[#fields + 1] = list .. "." .. text(number) end
  for i, entry in ipairs(redis.call("HMGET", name, unpack(fields))) do
    if entry then add(flat, fields[i], entry) end
  end
end

-- Seldom: a change is refused.
local function refuse(word, base, state, key)
  local score = standing(base, state, key)
  if not score then return {"absent", ""} end
  local job, flat = load(base, key)
  if not job then return {word, score} end
  add_history(base, key, job, flat)
  return {word, score, flat}
end

-- Seldom: a job goes to the queue, or its deadline stays, or only moves forward. Its score.
local function own_score(plan, base, found, score)
  if plan.to == "queued" then
    local place = found[plan.at_priority + 1]
    if plan.state == "queued" then place = tonumber(score) % BAND end
    if plan.tail then place = redis.call("HINCRBY", base, "seq", "1") end
    return queued_score(tonumber(plan.priority ~= "" and plan.priority or found[plan.at_priority] or 0), tonumber(place or 0))
  end
  local mode, old, new = string.sub(plan.due, 1, 1), tonumber(score), FOREVER + now
  if mode == "k" then new = old elseif mode ~= "n" then new = instant(plan.due) end
  if plan.forward and old < FOREVER and new < FOREVER then new = math.max(old, new) end
  return text(new)
end

-- Seldom: a list is appended to. The entries that are kept no longer with one of so many bytes more: too many, or too
-- large together.
local function outgrown(name, list, last, bytes, erased)
  local full = false
  for number = last, math.max(1, last + 1 - LIST_LENGTH), -1 do
    local field = list .. "." .. text(number)
    local size = redis.call("HSTRLEN", name, field)
    if size == 0 then return end
    bytes = bytes + size - #now_text - 1
    full = full or bytes > LIST_BYTES or last + 1 - number >= LIST_LENGTH
    if full then erased[#erased + 1] = field end
  end
end

-- Seldom: a job has a body, or gets one. Put its notes where they belong, small ones into the head, and take them out of
-- where they were.
local function place_notes(plan, body, sets, erased, at_values)
  for i, note in ipairs(plan.notes) do
    local value = ARGV[at_values + i - 1]
    local is_small = #value <= INLINE
    add(is_small and sets or body.sets, note, value)
    if is_small and body.notes[note] then body.erased[#body.erased + 1] = note end
    if not is_small then erased[#erased + 1] = note end
    body.notes[note] = not is_small or nil
  end
  for _, field in ipairs(plan.erased) do
    if body.notes[field] then body.erased[#body.erased + 1] = field end
    body.notes[field] = nil
  end
end

-- Seldom: a job has a body, or gets one. What is written to that; the head names the notes in it.
local function new_body(plan, name, held, counts, sets, erased, at_values)
  local body, names = {name = name, is_new = not held, sets = {}, erased = {}, notes = {}}, {}
  for note in string.gmatch(held or "", "%S+") do body.notes["n." .. note] = true end
  place_notes(plan, body, sets, erased, at_values)
  for i, list in ipairs(plan.lists) do
    local data, last = ARGV[at_values + #plan.notes + i - 1], appended(counts[i])
    outgrown(name, list, last, #data, body.erased)
    add(body.sets, list, text(last + 1))
    add(body.sets, list .. "." .. text(last + 1), now_text .. ":" .. data)
  end
  for note in pairs(body.notes) do names[#names + 1] = string.sub(note, 3) end
  table.sort(names)
  names = table.concat(names, " ")
  if names ~= held and (held or #body.sets > 0) then add(sets, "B", names) end
  return body
end

-- The fields to set and to erase in the head, as arguments, and what is written to the body, or nil.
local function new_fields(plan, found, score, revision, counts, name, at_values)
  local sets, erased, body = {unpack(plan.sets)}, plan.erased, nil
  if revision then add(sets, "v", text(revision)) end
  if plan.state == "queued" and plan.to ~= "queued" then add(sets, "o", text(tonumber(score) % BAND)) end
  for i = 1, #plan.fields_set do add(sets, plan.fields_set[i], ARGV[at_values + i - 1]) end
  at_values = at_values + #plan.fields_set
  if plan.cancels then
    add(sets, "x", now_text .. ":" .. ARGV[at_values])
    at_values = at_values + 1
  end
  local apart = found[5] or #plan.lists > 0
  for i = 1, #plan.notes do apart = apart or #ARGV[at_values + i - 1] > INLINE end
  if apart then
    erased = {unpack(erased)}
    body = new_body(plan, name, found[5], counts, sets, erased, at_values)
  else
    for i = 1, #plan.notes do add(sets, plan.notes[i], ARGV[at_values + i - 1]) end
  end
  return sets, erased, body
end

-- Seldom: a job has a body, or gets one.
local function write_body(body)
  if body.is_new and #body.sets > 0 then redis.call("DEL", body.name) end
  if #body.sets > 0 then redis.call("HSET", body.name, unpack(body.sets)) end
  if #body.erased > 0 then redis.call("HDEL", body.name, unpack(body.erased)) end
end

-- Take a job out of an index. One that did not stand there may have been quarantined: then it is put back first.
local function leave(base, state, key)
  if redis.call("ZREM", base .. ":" .. state, key) == 1 then return end
  if try("ZREM", base .. ":quarantine", state .. " " .. key) == 1 then count(books[base], RESTORED .. state, 1) end
end

-- Seldom: a job is deleted.
local function delete(plan, base, key, found)
  local name = base .. ":j:" .. key
  leave(base, plan.state, key)
  if found[6] then move_tags(base, plan.state, nil, found[6], nil, key) end
  if found[5] or not found[plan.at_arguments] then
    redis.call("DEL", name, base .. ":a:" .. key, base .. ":b:" .. key)
  else
    redis.call("DEL", name)
  end
end

-- Seldom: a job has tags, or gets some.
local function retag(plan, base, key, tags, score)
  if plan.tags == "" then return move_tags(base, plan.to ~= plan.state and plan.state, plan.to, tags, score, key) end
  move_tags(base, plan.state, nil, tags, nil, key)
  if plan.tags ~= "-" then move_tags(base, nil, plan.to, string.sub(plan.tags, 2), score, key) end
end

-- Write the new state of a job that stays.
local function write(plan, base, key, found, score, sets, erased, body)
  local name, target = base .. ":j:" .. key, plan.score or own_score(plan, base, found, score)
  redis.call("ZADD", base .. ":" .. plan.to, target, key)
  if plan.takes then redis.call("HSET", base .. ":unique", plan.takes, key) end
  if #sets > 0 then redis.call("HSET", name, unpack(sets)) end
  if #erased > 0 then redis.call("HDEL", name, unpack(erased)) end
  if body then write_body(body) end
  if plan.to ~= plan.state then leave(base, plan.state, key) end
  if found[6] or plan.tags ~= "" then retag(plan, base, key, found[6], target) end
end

-- The first guard that does not hold, or nil.
local function failing(plan, base, key, found, claim, revision, score)
  if claim ~= "" and found[4] ~= claim then return "claim" end
  if found[2] ~= plan.state then return "state" end
  if plan.if_due and (plan.state == "queued" or tonumber(score) > now) then return "due" end
  if revision ~= "" and tonumber(revision) ~= tonumber(found[3] or 0) then return "revision" end
  local holder = plan.takes and redis.call("HGET", base .. ":unique", plan.takes)
  if holder and holder ~= key then return "unique" end
  return nil
end

-- Seldom: a job has a body. How many entries the lists of a plan have; nil if it cannot be read.
local function counts_in(plan, base, key)
  return try("HMGET", base .. ":b:" .. key, unpack(#plan.lists > 0 and plan.lists or {"l." .. HISTORY}))
end

-- What a plan needs to know of a job and of its body; or nil, and whether it is damaged.
local function find(plan, base, key)
  local found, counts = redis.pcall("HMGET", base .. ":j:" .. key, unpack(plan.fields)), true
  if found.err then found = try("HMGET", base .. ":j:" .. key, unpack(plan.fields)) end
  if found and not found[1] and not found[2] and redis.call("EXISTS", base .. ":j:" .. key) == 0 then return nil, false end
  local sound = found and found[1] and IS_STATE[found[2]] and is_number(found[3])
  if sound and plan.to == "queued" then sound = is_number(found[plan.at_priority]) and is_number(found[plan.at_priority + 1]) end
  if sound and found[5] and plan.to ~= "" then counts = counts_in(plan, base, key) end
  if not sound or not counts then return nil, true end
  return found, counts == true and {} or counts
end

local function apply(plan, base, key, claim, created, revision, at_values)
  local found, counts = find(plan, base, key)
  if not found and counts then quarantine(base, plan.state, key) end
  if not found or (created ~= "" and found[7] ~= created) then return {"absent", ""} end
  local index, score = base .. ":" .. plan.state, nil
  -- Where the score does not matter, neither does it whether the job is listed: afterwards it is.
  if plan.reads_score and found[2] == plan.state and (claim == "" or found[4] == claim) then
    score = redis.call("ZSCORE", index, key) or standing(base, plan.state, key)
    if not score then return {"absent", ""} end
  end
  local word = failing(plan, base, key, found, claim, revision, score)
  if word then return refuse(word, base, found[2], key) end
  local held, old, ms, sets, erased, body = plan.at_unique and found[plan.at_unique], tonumber(found[3] or 0), 0, nil, nil, nil
  local frees = held and try("HGET", base .. ":unique", held) == key
  local new = (claim == "" or plan.to ~= plan.state) and old + 1 or old
  local since = plan.since ~= "" and (found[8] or found[7])
  if since and is_number(since) then ms = math.max(0, now - tonumber(since)) end
  if plan.to ~= "" then
    sets, erased, body = new_fields(plan, found, score, new ~= old and new, counts, base .. ":b:" .. key, at_values)
  end
  -- Everything is known; from here on, only writes. The first is one that a full server accepts.
  if not begun then redis.call("ZREM", index, "") end
  begun = true
  if frees then redis.call("HDEL", base .. ":unique", held) end
  if plan.to == "" then
    delete(plan, base, key, found)
  else
    write(plan, base, key, found, score, sets, erased, body)
  end
  if plan.row ~= "" then count(books[base], plan.row, 1) end
  if ms > 0 then count(books[base], plan.row .. ".ms", ms) end
  return new
end

keep_books(function()
  while at <= #ARGV do
    local base, key, plan, claim = KEYS[tonumber(ARGV[at])], ARGV[at + 1], plans[tonumber(ARGV[at + 2])], ARGV[at + 3]
    local answer = apply(plan, base, key, claim, ARGV[at + 4], ARGV[at + 5], at + 6)
    at = at + 6 + plan.values
    answers[#answers + 1] = answer
    if type(answer) == "number" then
      if plan.topic ~= "" then
        local channel = base .. ":" .. plan.topic
        local keys = channels[channel]
        if keys then keys[#keys + 1] = key else channels[channel] = {key} end
      end
      if plan.to == "queued" then wake(base) end
      if IS_WAITING[plan.to] then wake_if_first(base, plan.to, key) end
    end
  end
end)
for channel, keys in pairs(channels) do redis.pcall("PUBLISH", channel, table.concat(keys, " ")) end
return answers
