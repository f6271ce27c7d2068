-- shared.lua: put in front of every script; scripts cannot call one another.
--
-- A queue is its base key, "<namespace>:{<queue>}", a hash of the queue's settings and its counter of places.
-- Every other key of the queue begins with the base key, so that all lie in one Cluster slot:
--   <base>:<state>       zset of keys of jobs, one for each state: the only place where a job is listed
--   <base>:j:<key>       hash: one job
--   <base>:unique        hash: digest of a unique key -> key of the job that holds it
--   <base>:wake          list of at most one element: present while a waiting worker may find something
--   <base>:claim:<id>    string, expiring: the answer to a claim, for its repetition
--   <base>:quarantine    zset of keys of jobs that could not be read; score: when that was noticed, in ms
--   <base>:ended, <base>:touched   channels, not keys
-- Scores: of a waiting or running job its clock in ms; of a queued one its priority and place; FOREVER + ms where
-- there is no clock.
-- Fields of a job: t task, s state, c claim, r run, w worker, v revision, p priority, o place, u digest of the unique
-- key it holds, e until when, g tags, a created, b started, z ended (ms), S spec; n.<note>; l.<list> how many
-- entries were ever appended, l.<list>.<number> one of them as "<ms>:<data>". Default values are not stored.

local FOREVER = 4503599627370496        -- 2^52, above every clock and still exact as a score
local BAND = 17592186044416             -- 2^44 places in each priority
local LIST_LENGTH = 100                 -- entries kept of each list
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

-- The fields of a job as a table and as the flat reply; or nil and "absent" or "unreadable".
local function load(base, key)
  local flat = redis.pcall("HGETALL", base .. ":j:" .. key)
  if flat.err then return nil, "unreadable" end
  if #flat == 0 then return nil, "absent" end
  local job = {}
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  local sound = job.t and job.S and job.a and IS_STATE[job.s] and is_number(job.r) and is_number(job.v)
    and is_number(job.p) and is_number(job.o) and is_number(job.a) and is_number(job.b) and is_number(job.z)
  if not sound then return nil, "unreadable" end
  return job, flat
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

-- Put a record that cannot be read aside, out of the index it stands in.
local function quarantine(base, state, key, now)
  redis.call("ZREM", base .. ":" .. state, key)
  redis.pcall("ZADD", base .. ":quarantine", text(now), key)
end

-- Whether a key holds a sorted set or nothing.
local function is_index(key)
  return type(redis.pcall("ZCARD", key)) == "number"
end

-- Tell one waiting worker that there may be something. A hint, so nothing may fail because of it.
local function wake(base)
  if redis.pcall("LLEN", base .. ":wake") == 0 then redis.pcall("LPUSH", base .. ":wake", "1") end
end

-- Wake if this job now is the first to become due.
local function wake_if_first(base, state, key)
  if redis.call("ZRANK", base .. ":" .. state, key) == 0 then wake(base) end
end
