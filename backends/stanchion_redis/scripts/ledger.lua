-- ledger.lua: what a queue's ledger counted, and beside it how many jobs are in each state.
-- KEYS     1 the base key of the queue; it and of its keys <state>, minutes, hours are read
-- ARGV     1 now_ms or "" to use the server's · 2 the first minute since 1970 whose snapshots are asked for, "-inf" for
--          all, or "" for none · 3 "1" if the last one of each hour is enough
-- returns  {now_ms, minute of the last counting, {for each field of the ledger: name, number…}, {the counts of the states, in the order of
--          STATES}, {snapshots…}}
now = clock(ARGV[1])
local base, since = KEYS[1], ARGV[2]
local rows, minute, counts, snapshots = {}, 0, {}, {}
local flat = try("HGETALL", base) or {}
for i = 1, #flat, 2 do
  if flat[i] == "minute" and is_number(flat[i + 1]) then minute = tonumber(flat[i + 1]) end
  if string.find(flat[i], ".", 1, true) then
    rows[#rows + 1] = flat[i]
    rows[#rows + 1] = flat[i + 1]
  end
end
for i, state in ipairs(STATES) do counts[i] = try("ZCARD", base .. ":" .. state) or 0 end

-- The snapshots of a part since then, and the last one before it.
local function read(part)
  local earlier = try("ZREVRANGEBYSCORE", part, "(" .. since, "-inf", "LIMIT", 0, 1) or {}
  local later = try("ZRANGEBYSCORE", part, since, "+inf") or {}
  snapshots[#snapshots + 1] = earlier[1]
  for _, one in ipairs(later) do snapshots[#snapshots + 1] = one end
end

if since ~= "" then
  read(base .. ":hours")
  if ARGV[3] == "" then read(base .. ":minutes") end
end
return {now, minute, rows, counts, snapshots}
