-- list.lua: one page of the heads of the jobs in a state, in the order of its index or in reverse.
-- KEYS     1 the base key of the queue; of its keys <state>, t:<state>:<tag>, j:<key> are read
-- ARGV     1 state · 2 size of the page · 3 score and 4 key of the last job that was looked at for the page before, or
--          "" and "" · 5 how many bytes the page may hold · 6 "1" to begin at the other end · 7 tag or "" · 8 how many
--          heads to look at · then, if not all are wanted: task · worker · text in the error, each "" or "=" and what is
--          wanted · created since · until · started since · until · ended since · until, in ms, or "" and ""
-- returns  {score and key of the last job looked at, or "" and "" if there is no more, {1, key, score, {fields…}}, …}
local base, state, size = KEYS[1], ARGV[1], tonumber(ARGV[2])
local score, last, newest = tonumber(ARGV[3]), ARGV[4], ARGV[6] ~= ""
local index = ARGV[7] == "" and base .. ":" .. state or base .. ":t:" .. state .. ":" .. ARGV[7]
local looks, where = tonumber(ARGV[8]), #ARGV > 8
room = tonumber(ARGV[5])

local function range(from, to)
  if newest then return redis.call("ZRANGE", index, from, to, "REV", "WITHSCORES") end
  return redis.call("ZRANGE", index, from, to, "WITHSCORES")
end

-- Whether a job stands at or before the last one that was looked at, in the order of this listing.
local function is_passed(key, at)
  if at ~= score then return (at < score) ~= newest end
  if newest then return not before(key, last) end
  return not before(last, key)
end

-- How many stand at or before the last job looked at, found by halving: it may have moved since.
local function passed()
  local low, high = 0, score and redis.call("ZCARD", index) or 0
  while low < high do
    local middle = math.floor((low + high) / 2)
    local one = range(middle, middle)
    if is_passed(one[1], tonumber(one[2])) then low = middle + 1 else high = middle end
  end
  return low
end

local function is_in(at, since, till)
  if since == "" then return true end
  at = at and is_number(at) and tonumber(at)
  return at and at >= tonumber(since) and at < tonumber(till)
end

local function is_selected(key)
  local head = where and try("HMGET", base .. ":j:" .. key, "t", "w", "E", "a", "b", "z")
  if not head then return not where end
  for i = 1, 2 do
    if ARGV[8 + i] ~= "" and ARGV[8 + i] ~= "=" .. (head[i] or "") then return false end
  end
  if ARGV[11] ~= "" and not string.find(head[3] or "", string.sub(ARGV[11], 2), 1, true) then return false end
  return is_in(head[4], ARGV[12], ARGV[13]) and is_in(head[5], ARGV[14], ARGV[15]) and is_in(head[6], ARGV[16], ARGV[17])
end

local answers, looked_at, is_full = {"", ""}, {"", ""}, false

local function look_at(key, at)
  local job, flat, bytes
  if is_selected(key) then job, flat, bytes = load(base, key) end
  if job and (ARGV[7] == "" or job.s == state) then
    is_full = not fits(bytes)
    if is_full then return end
    answers[#answers + 1] = {1, key, at, flat}
  end
  looked_at = {at, key}
  is_full = #answers == size + 2
end

local from, looked, is_last = passed(), 0, false
while not is_full and not is_last and looked < looks do
  local count = math.min(size, looks - looked)
  local found = range(from + looked, from + looked + count)
  local there = math.min(#found / 2, count)
  for i = 1, there do
    look_at(found[2 * i - 1], found[2 * i])
    if is_full and (i < there or looked_at[2] ~= found[2 * i - 1]) then break end
    is_last = i == #found / 2
  end
  looked, is_last = looked + there, is_last or there == 0
end
if not is_last then answers[1], answers[2] = looked_at[1], looked_at[2] end
return answers
