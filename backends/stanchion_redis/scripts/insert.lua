-- insert.lua: create jobs.
-- KEYS     the base key of each queue; it and of its keys j:<key>, a:<key>, unique, <state>, t:<state>:<tag>, wake,
--          minutes, hours are touched
-- ARGV     1 now_ms or "" to use the server's · then for each queue how many of its jobs get a place; if others do not,
--          or they need more, behind that the states of its jobs, separated by commas, and "u" for unique keys, "A" for
--          large arguments: "3 queued,blocked uA" · then for each job: if there are several queues, the number of its
--          own · key · "" for a queued one that has none of the following, else its state, "+ms" from now, "=ms" or "-"
--          for when it is due, and which it has: "scheduled +500 pg" · after "p" its priority, after "u" the digest of
--          its unique key, after "l" the same, which is not taken but looked at, after "g" its tags, after "A" its
--          arguments, if they are large · number of fields n · n times name, value
-- returns  {now_ms, {number of each queue that did not exist…}, for each job: 1 if created, else {queue number, key,
--          score, {fields…}} of the job that was there; without score and fields if that cannot be read}
now = clock(ARGV[1])
local at, now_text, new, places, woken, there = 2 + #KEYS, text(now), {}, {}, {}, {}
local answers, number = {now, new}, 1

-- Seldom: a key is not what it should be.
local function corrupt(base)
  return redis.error_reply("CORRUPT a key of queue " .. base .. " is not what it should be")
end

-- Seldom: there are several queues, or jobs have other states than one, or need more. How many get a place, and whether
-- the keys are what they should be; the rights that are needed are proved.
local function prepare(base, argument)
  local tails, states, needed = string.match(argument, "^(%d+) ?(%S*) ?(%S*)$")
  local book = open_book(base)
  local sound = book
  for state in string.gmatch(states == "" and "queued" or states, "[^,]+") do
    sound = sound and try("ZCARD", base .. ":" .. state)
  end
  if string.find(needed, "u", 1, true) then sound = sound and try("HLEN", base .. ":unique") end
  if sound then needs(base, "SET", "HGET") end
  return tails, book and book.exists, sound
end

for queue, base in ipairs(KEYS) do
  local tails, exists, sound = ARGV[1 + queue], nil, nil
  if tonumber(tails) and not KEYS[2] then
    local minute = try("HGET", base, "minute")
    sound = minute ~= nil and begin_book(base, minute)
  else
    tails, exists, sound = prepare(base, tails)
  end
  if not sound then return corrupt(base) end
  needs(base, "ZADD", "HSET")
  places[queue], there[queue] = tails, exists
end
-- A queue exists with its counter, of which a job that waits for a time takes nothing.
for queue, base in ipairs(KEYS) do
  local tails = places[queue]
  places[queue] = redis.call("HINCRBY", base, "seq", tails) - tonumber(tails)
  if places[queue] == 0 and not there[queue] then new[#new + 1] = queue end
end
there = {}

-- Seldom: a job is not just queued. Its state, when it is due, its priority, the digest of its unique key, whether it takes
-- that, its tags, and its arguments if they are large.
local function read_kind(kind)
  local state, due, has = string.match(kind, "^(%S+) (%S+) (%S*)$")
  local priority, digest, takes, tags, arguments = 0, nil, string.find(has, "u", 1, true), nil, nil
  local function argument(option)
    if not string.find(has, option, 1, true) then return nil end
    at = at + 1
    return ARGV[at - 1]
  end
  priority, digest = tonumber(argument("p") or 0), argument("u")
  digest, tags, arguments = digest or argument("l"), argument("g"), argument("A")
  return state, due, priority, digest, takes, tags, arguments
end

-- Seldom: a job takes a unique key. The key of the job that holds it, or nil.
local function holder_of(base, digest)
  local holder = redis.call("HGET", base .. ":unique", digest)
  return holder and redis.call("EXISTS", base .. ":j:" .. holder) == 1 and holder
end

-- Seldom: a job waits, or runs from the start. Put it into the index of its state, and answer its score there.
local function place(base, key, state, due)
  local score = text(due == "-" and FOREVER + now or instant(due))
  redis.call("ZADD", base .. ":" .. state, score, key)
  if state == "running" then
    places[number] = places[number] + 1
    redis.call("HSET", base .. ":j:" .. key, "b", now_text, "o", text(places[number]))
  end
  if IS_WAITING[state] then wake_if_first(base, state, key) end
  return score
end

while at <= #ARGV do
  if KEYS[2] then
    number = tonumber(ARGV[at])
    at = at + 1
  end
  local base, key, kind = KEYS[number], ARGV[at], ARGV[at + 1]
  local state, due, priority, digest, takes, tags, arguments = "queued", nil, 0, nil, nil, nil, nil
  at = at + 2
  if kind ~= "" then state, due, priority, digest, takes, tags, arguments = read_kind(kind) end
  local first, name = at + 1, base .. ":j:" .. key
  at = first + 2 * tonumber(ARGV[at])
  local holder = redis.call("EXISTS", name) == 1 and key or digest and holder_of(base, digest)
  if holder then
    there[#there + 1] = #answers + 1
    answers[#answers + 1] = {number, holder}
  else
    local score
    if state == "queued" then
      places[number] = places[number] + 1
      score = queued_score(priority, places[number])
      local added = redis.pcall("ZADD", base .. ":queued", score, key)
      if type(added) == "table" then  -- nothing was written yet
        return string.find(added.err, "WRONGTYPE", 1, true) and corrupt(base) or added
      end
      if not woken[number] then wake(base) end
      woken[number] = true
    else
      score = place(base, key, state, due)
    end
    redis.call("HSET", name, "s", state, "a", now_text, unpack(ARGV, first, at - 1))
    if arguments then redis.call("SET", base .. ":a:" .. key, arguments) end
    if takes then redis.call("HSET", base .. ":unique", digest, key) end
    if tags then move_tags(base, nil, state, tags, score, key) end
    count(books[base], ENQUEUED .. state, 1)
    answers[#answers + 1] = 1
  end
end
for base, book in pairs(books) do close_book(base, book) end

-- Seldom: some jobs were there. Describe them, as everything is written that could be.
local function describe()
  books = {}
  keep_books(function()
    for _, position in ipairs(there) do
      local answer = answers[position]
      local base = KEYS[answer[1]]
      local job, flat = load(base, answer[2])
      answer[3] = job and standing(base, job.s, answer[2]) or nil
      answer[4] = answer[3] and flat
    end
  end)
end

if there[1] then describe() end
return answers
