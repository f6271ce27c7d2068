-- insert.lua: create jobs.
-- KEYS     the base key of each queue; of its keys j:<key>, unique, <state>, wake are touched
-- ARGV     1 now_ms or "" to use the server's · then for each queue: how many jobs go to its tail, how many to other
--          states, how many have a unique key · then for each job: queue number · key · state · clock ("", "+ms" from
--          now, "=ms") · priority · digest of its unique key or "" · number of further fields n · n times name, value
-- returns  {{number of each queue that did not exist…}, for each job: 1 if created, else {queue number, key, score,
--          fields…} of the job that was there; without score and fields if that cannot be read}
needs({"HSET", "HINCRBY", "ZADD", "EXISTS", "HGETALL", "ZSCORE"})
local now = clock(ARGV[1])
local now_text = text(now)
local at = 2

local new, places = {}, {}
for number, base in ipairs(KEYS) do
  local tails, others, uniques = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  at = at + 3
  places[number] = tails
  local seq = try("HGET", base, "seq")
  if seq == nil or not is_number(seq) or (tails > 0 and not is_index(base .. ":queued"))
    or (others > 0 and not (is_index(base .. ":scheduled") and is_index(base .. ":blocked")))
    or (uniques > 0 and not try("HLEN", base .. ":unique")) then
    return redis.error_reply("CORRUPT a key of queue " .. base .. " is not what it should be")
  end
  if not seq then new[#new + 1] = number end
end
for number, base in ipairs(KEYS) do
  -- A queue exists with its counter, of which a job that waits for a time takes nothing.
  places[number] = redis.call("HINCRBY", base, "seq", places[number]) - places[number]
end

local answers, woken = {new}, {}
while at <= #ARGV do
  local number, key, state, due = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local priority, digest, count = tonumber(ARGV[at + 4]), ARGV[at + 5], tonumber(ARGV[at + 6])
  local first, last = at + 7, at + 6 + 2 * count
  at = last + 1
  local base = KEYS[number]
  local name = base .. ":j:" .. key
  local holder = redis.call("EXISTS", name) == 1 and key
  if not holder and digest ~= "" then
    holder = redis.call("HGET", base .. ":unique", digest)
    if holder and redis.call("EXISTS", base .. ":j:" .. holder) == 0 then holder = false end
  end

  if holder then
    local job, flat = load(base, holder)
    local score = job and standing(base, job.s, holder)
    local answer = {number, holder}
    if score then
      answer[3] = score
      for _, value in ipairs(flat) do answer[#answer + 1] = value end
    end
    answers[#answers + 1] = answer
  else
    redis.call("HSET", name, "s", state, "a", now_text, unpack(ARGV, first, last))
    if state == "queued" then
      places[number] = places[number] + 1
      redis.call("ZADD", base .. ":queued", queued_score(priority, places[number]), key)
      if not woken[number] then wake(base) end
      woken[number] = true
    else
      local score = FOREVER + now
      if due ~= "" then score = tonumber(string.sub(due, 2)) + (string.sub(due, 1, 1) == "+" and now or 0) end
      redis.call("ZADD", base .. ":" .. state, text(score), key)
      wake_if_first(base, state, key)
    end
    if digest ~= "" then redis.call("HSET", base .. ":unique", digest, key) end
    answers[#answers + 1] = 1
  end
end
return answers
