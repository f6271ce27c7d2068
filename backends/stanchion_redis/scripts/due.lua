-- due.lua: jobs of every state whose clock has run out, running ones first, oldest clock first within a state.
-- KEYS     the base key of each queue; of its keys <state>, j:<key> are read, quarantine may be written, and jobs of it
--          that can be read again are put back
-- ARGV     1 now_ms or "" to use the server's · 2 limit · 3 how many bytes the answer may hold
-- returns  {now_ms, 1 if there are more, {base key, key of each job that was quarantined…}, {queue number, key, score,
--          fields…}, …}
needs({"ZREM", "ZADD", "HGETALL", "ZSCORE", "ZRANGE", "ZRANGEBYSCORE"})
local now, left = clock(ARGV[1]), tonumber(ARGV[2])
local answers = {text(now), 0, quarantined}
local LOOKS = 10                        -- quarantined jobs of a queue that are looked at again; others the next second
room = tonumber(ARGV[3])

for _, base in ipairs(KEYS) do
  local aside = try("ZCARD", base .. ":quarantine")
  if aside and aside > 0 then
    local from = aside <= LOOKS and 0 or math.floor(now / 1000) * LOOKS % aside
    local entries = redis.call("ZRANGE", base .. ":quarantine", from, from + LOOKS - 1, "WITHSCORES")
    for i = 1, #entries, 2 do
      if restore(base, entries[i], entries[i + 1]) then wake(base) end
    end
  end
end

for _, state in ipairs({"running", "scheduled", "retrying", "blocked", "completed", "failed", "timed_out", "cancelled"}) do
  for number, base in ipairs(KEYS) do
    local found = {}
    if left > 0 then
      found = try("ZRANGEBYSCORE", base .. ":" .. state, "-inf", text(now), "WITHSCORES", "LIMIT", 0, left) or {}
    end
    local jobs = {}
    for i = 1, #found, 2 do
      local job, flat, bytes = load(base, found[i])
      if not job or job.s ~= state then
        quarantine(base, state, found[i])
      elseif fits(bytes) then
        local answer = {number, found[i], found[i + 1]}
        for _, value in ipairs(flat) do answer[#answer + 1] = value end
        jobs[#jobs + 1] = {tonumber(found[i + 1]), tonumber(job.a), found[i], answer}
      else
        left = 0
        break
      end
      left = left - 1
    end
    by_clock(jobs)
    for _, one in ipairs(jobs) do answers[#answers + 1] = one[4] end
  end
end
if left <= 0 then answers[2] = 1 end
return answers
