-- values.lua: numbers, replies, rights and the order of jobs. The files of this folder are put in front of the scripts,
-- which cannot call one another: first the constants that `lua.py` writes, then values, records, books, damage and
-- wakes, each part only where it is used.
--
-- A queue is its base key, "<namespace>:{<queue>}", and every other key of it begins with that, so that all lie in one
-- Cluster slot; docs/redis.md lists them, and the fields of their hashes.

local now = 0                           -- the time of this call in ms; a script that needs it sets it first

-- The time in ms: a test's, or the server's.
local function clock(given)
  if given ~= "" then return tonumber(given) end
  local time = redis.call("TIME")
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- A whole number as an argument. Lua's own conversion is three times slower, and keeps 14 digits where it makes a text.
local function text(number)
  return string.format("%d", number)
end

-- Whether a field is absent or a whole number.
local function is_number(value)
  return not value or (#value < 17 and string.match(value, "^-?%d+$") ~= nil)
end

local function queued_score(priority, place)
  return text((HIGHEST - priority) * BAND + place)
end

-- An instant or a span as it is sent: "+ms" from now, "=ms".
local function instant(due)
  return tonumber(string.sub(due, 2)) + (string.sub(due, 1, 1) == "+" and now or 0)
end

-- Prove the rights to up to four commands before the first write: an ACL user who lacks one would leave a script half
-- done. What a script sends in any case before it changes a job needs no proof. Redis 6.2 has no way to ask. The key is
-- named twice, as some commands take several.
local function needs(base, one, two, three, four)
  local may = redis.acl_check_cmd
  if not may or (may(one, base, base) and (not two or may(two, base, base)) and (not three or may(three, base, base))
    and (not four or may(four, base, base))) then return end
  local commands = table.concat({one, two, three, four}, ", ")
  error(redis.error_reply("NOPERM this user may not run all of " .. commands .. " on " .. base .. ", which Stanchion needs"))
end

-- The reply of a command, or nil where a key holds another type. Any other error ends the script: a right that is
-- missing, or a server that is full, is no damage.
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == "table" and reply.err then
    if string.find(reply.err, "WRONGTYPE", 1, true) then return nil end
    return redis.call(...)
  end
  return reply
end

-- Whether one text stands before another: by bytes, while Lua's own order is the locale's.
local function before(one, other)
  for i = 1, math.min(#one, #other) do
    local mine, theirs = string.byte(one, i), string.byte(other, i)
    if mine ~= theirs then return mine < theirs end
  end
  return #one < #other
end

-- Seldom: jobs are due. Put them in the order in which they are due; each is {score, created in ms, key, …}.
local function by_due(found)
  table.sort(found, function(one, other)
    if one[1] ~= other[1] then return one[1] < other[1] end
    if one[2] ~= other[2] then return one[2] < other[2] end
    return before(one[3], other[3])
  end)
end

-- How many bytes an answer may still hold. The first job is handed out whatever its size.
local room, any = nil, false

local function fits(bytes)
  if any and bytes > room then
    room = 0
    return false
  end
  any, room = true, room - bytes
  return true
end
