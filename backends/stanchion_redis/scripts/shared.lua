-- shared.lua: put in front of every script; scripts cannot call one another.
--
-- A queue is its base key, "<namespace>:{<queue>}", a hash of the queue's settings and its counter of places.
-- Every other key of the queue begins with the base key, so that all lie in one Cluster slot:
--   <base>:<state>       zset of keys of jobs, one for each state: the only place where a job is listed
--   <base>:j:<key>       hash: one job
--   <base>:unique        hash: digest of a unique key -> key of the job that holds it
--   <base>:wake          list of at most one element: present while a waiting worker may find something
--   <base>:claim:<id>    string, expiring: the answer to a claim, for its repetition
--   <base>:quarantine    zset of "<state> <key>" of jobs that could not be read; score: the one in that state's index
--   <base>:ended, <base>:touched   channels, not keys
-- Scores: of a waiting or running job its clock in ms; of a queued one its priority and place; FOREVER + ms where
-- there is no clock.
-- Fields of a job: t task, s state, c claim, r run, w worker, v revision, p priority, o place, u digest of the unique
-- key it holds, e until when, g tags, a created, b started, z ended (ms), S spec; n.<note>; l.<list> how many
-- entries were ever appended, l.<list>.<number> one of them as "<ms>:<data>". Default values are not stored.

local FOREVER = 4503599627370496        -- 2^52, above every clock and still exact as a score
local BAND = 17592186044416             -- 2^44 places in each priority
local LIST_LENGTH = 100                 -- entries kept of each list
local LIST_BYTES = 262144               -- and bytes of them; the newest entry is kept whatever its size
local KEY_BYTES = 128                   -- the longest key of a job
local STATES = {"blocked", "scheduled", "queued", "running", "retrying", "completed", "failed", "timed_out", "cancelled"}
local FINAL = {completed = true, failed = true, timed_out = true, cancelled = true}
local IS_STATE = {blocked = true, scheduled = true, queued = true, running = true, retrying = true,
  completed = true, failed = true, timed_out = true, cancelled = true}

-- A number as Redis shall store it: Lua's own conversion keeps only 14 digits.
local function text(number)
  return string.format("%.0f", number)
end

-- The time in ms: the test's, or the server's.
local function clock(given)
  if given ~= "" then return tonumber(given) end
  local time = redis.call("TIME")
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function queued_score(priority, place)
  return text((100 - priority) * BAND + place)
end

local function is_number(value)
  return not value or (#value < 17 and string.match(value, "^-?%d+$") ~= nil)
end

-- Prove the rights to commands before the first write: an ACL user who lacks one would leave a script half done. What a
-- script sends in any case before it writes needs no proof. Of the further queues, which a user may be kept from by
-- name, one command is proved. Redis 6.2 has no way to ask.
local function needs(commands)
  local may = redis.acl_check_cmd
  if not may then return end
  local function prove(command, base, key)
    if not may(command, key, key) then  -- twice, as some commands take several keys
      error(redis.error_reply("NOPERM this user may not run " .. command .. " on " .. base .. ", which Stanchion needs"))
    end
  end
  local first = KEYS[1] .. ":"
  for i = 1, #commands do prove(commands[i], KEYS[1], first) end
  for number = 2, #KEYS do prove(commands[1], KEYS[number], KEYS[number] .. ":") end
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

-- The fields of a job as a table, as the flat reply, and how many bytes they have; or nil and "absent" or "unreadable".
local function load(base, key)
  local flat = try("HGETALL", base .. ":j:" .. key)
  if not flat then return nil, "unreadable" end
  if #flat == 0 then return nil, "absent" end
  local job, bytes = {}, 0
  for i = 1, #flat, 2 do
    job[flat[i]] = flat[i + 1]
    bytes = bytes + #flat[i + 1]
  end
  local sound = job.t and job.S and job.a and IS_STATE[job.s] and is_number(job.r) and is_number(job.v)
    and is_number(job.p) and is_number(job.o) and is_number(job.a) and is_number(job.b) and is_number(job.z)
    and #key <= KEY_BYTES and string.find(key, "^[A-Za-z0-9_.~:@+=-]+$")
  if not sound then return nil, "unreadable" end
  return job, flat, bytes
end

-- Whether one text stands before another: by bytes, while Lua's own order is the locale's.
local function before(one, other)
  for i = 1, math.min(#one, #other) do
    local mine, theirs = string.byte(one, i), string.byte(other, i)
    if mine ~= theirs then return mine < theirs end
  end
  return #one < #other
end

-- Put jobs in the order in which they are due; each is {score, created in ms, key, …}.
local function by_clock(found)
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

local quarantined = {}                  -- base key, key of each job that this call quarantined

-- Move a job that cannot be read out of the index it stands in. First a write that a full server accepts.
local function quarantine(base, state, key)
  local index = base .. ":" .. state
  local score = try("ZSCORE", index, key)
  if not score then return end
  redis.call("ZREM", index, "")
  try("ZADD", base .. ":quarantine", score, state .. " " .. key)
  redis.call("ZREM", index, key)
  quarantined[#quarantined + 1] = base
  quarantined[#quarantined + 1] = key
end

-- Put a quarantined job that can be read again back where it stood; whether it is listed now.
local function restore(base, entry, score)
  local state, key = string.match(entry, "^(%S+) (.+)$")
  local job = key and load(base, key)
  if not job then return false end
  local index, number = base .. ":" .. job.s, tonumber(score)
  local listed = try("ZSCORE", index, key)
  if not listed and (job.s ~= state or (state == "queued" and (number < 0 or number >= FOREVER))) then return false end
  redis.call("ZREM", index, "")
  if not listed then redis.call("ZADD", index, score, key) end
  redis.call("ZREM", base .. ":quarantine", entry)
  return true
end

-- Where a job stands in the index of its state, or nil. One that was quarantined and can be read again is put back.
local function standing(base, state, key)
  local index = base .. ":" .. state
  local score = try("ZSCORE", index, key)
  if score then return score end
  local entry = state .. " " .. key
  local aside = try("ZSCORE", base .. ":quarantine", entry)
  return aside and restore(base, entry, aside) and try("ZSCORE", index, key)
end

-- Whether a key holds a sorted set or nothing.
local function is_index(key)
  return try("ZCARD", key) ~= nil
end

-- Tell one waiting worker that there may be something. A hint, so nothing may fail because of it.
local function wake(base)
  if redis.pcall("LLEN", base .. ":wake") == 0 then redis.pcall("LPUSH", base .. ":wake", "1") end
end

-- Wake if this job now is the first to become due.
local function wake_if_first(base, state, key)
  if redis.pcall("ZRANK", base .. ":" .. state, key) == 0 then wake(base) end
end
