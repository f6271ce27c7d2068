-- due.lua: jobs of every state whose clock has run out, running ones first, oldest clock first within a state.
-- KEYS     the base key of each queue; of its keys <state>, j:<key> are read, quarantine may be written
-- ARGV     1 now_ms or "" to use the server's · 2 limit
-- returns  {now_ms, {queue number, key, score, fields…}, …}
local now, left = clock(ARGV[1]), tonumber(ARGV[2])
local answers = {text(now)}
local order = {"running", "scheduled", "retrying", "blocked", "completed", "failed", "timed_out", "cancelled"}
for _, state in ipairs(order) do
  for number, base in ipairs(KEYS) do
    local found = {}
    if left > 0 then
      found = redis.pcall("ZRANGEBYSCORE", base .. ":" .. state, "-inf", text(now), "WITHSCORES", "LIMIT", 0, left)
    end
    local jobs = {}
    for i = 1, found.err and 0 or #found, 2 do
      local job, flat = load(base, found[i])
      if not job or job.s ~= state then
        quarantine(base, state, found[i], now)
      else
        local answer = {number, found[i], found[i + 1]}
        for _, value in ipairs(flat) do answer[#answer + 1] = value end
        jobs[#jobs + 1] = {tonumber(found[i + 1]), tonumber(job.a), found[i], answer}
      end
      left = left - 1
    end
    by_clock(jobs)
    for _, one in ipairs(jobs) do answers[#answers + 1] = one[4] end
  end
end
return answers
