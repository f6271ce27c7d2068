-- due.lua: the heads of jobs of every state that are due, by state in the order of SWEPT, the longest due first within a
-- state.
-- KEYS     the base key of each queue; of its keys <state>, j:<key> are read; it and quarantine, t:<state>:<tag>, wake,
--          minutes, hours may be written, and jobs that can be read again are put back
-- ARGV     1 now_ms or "" to use the server's · 2 limit · 3 how many bytes the answer may hold
-- returns  {now_ms, 1 if there are more, {base key, key of each job that was quarantined…}, {queue number, key, score,
--          {fields…}}, …}
now = clock(ARGV[1])
local left, now_text = tonumber(ARGV[2]), text(now)
local answers = {now, 0, quarantined}
local LOOKS = 10                        -- quarantined jobs of a queue that are looked at again; others the next second
room = tonumber(ARGV[3])

-- Put quarantined jobs of a queue back that can be read again.
local function look_again(base)
  local aside = try("ZCARD", base .. ":quarantine")
  if not aside or aside == 0 then return end
  local from = aside <= LOOKS and 0 or math.floor(now / 1000) * LOOKS % aside
  local entries = redis.call("ZRANGE", base .. ":quarantine", from, from + LOOKS - 1, "WITHSCORES")
  for i = 1, #entries, 2 do
    if restore(base, entries[i], entries[i + 1]) then wake(base) end
  end
end

-- The jobs of a queue that are due in a state, as far as there is room.
local function due_in(number, base, state)
  local found = left > 0 and try("ZRANGEBYSCORE", base .. ":" .. state, "-inf", now_text, "WITHSCORES", "LIMIT", 0, left) or {}
  local jobs = {}
  for i = 1, #found, 2 do
    local key, score = found[i], found[i + 1]
    local job, flat, bytes = load(base, key)
    if not job or job.s ~= state then
      quarantine(base, state, key)
    elseif fits(bytes) then
      jobs[#jobs + 1] = {tonumber(score), tonumber(job.a), key, {number, key, score, flat}}
    else
      left = 0
      break
    end
    left = left - 1
  end
  by_due(jobs)
  return jobs
end

keep_books(function()
  for _, base in ipairs(KEYS) do look_again(base) end
  for _, state in ipairs(SWEPT) do
    for number, base in ipairs(KEYS) do
      for _, one in ipairs(due_in(number, base, state)) do answers[#answers + 1] = one[4] end
    end
  end
end)
if left <= 0 then answers[2] = 1 end
return answers
