-- check.lua: look for damage in one part of a queue's store.
-- KEYS     1 the base key of the queue; it and of its keys <state>, j:<key>, unique, quarantine are read
-- ARGV     1 part: a state, "quarantine", "unique" or "records" · 2 position in it, "0" at first · 3 size of the page ·
--          for records: 4… key, …
-- returns  {position of the next page or "0", fault, key or part, detail, …}; faults as in stanchion.queries.Fault
local base, part, position, size = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local findings = {"0"}
local function found(fault, where, detail)
  findings[#findings + 1] = fault
  findings[#findings + 1] = where
  findings[#findings + 1] = detail
end

local function check_indexed(key, state)
  local job, why = load(base, key)
  if not job then return found("unreadable", key, "it is listed as " .. state .. " and its record is " .. why) end
  if job.s ~= state then return found("misplaced", key, "it is listed as " .. state .. " and says it is " .. job.s) end
  if state == "running" and not (job.c and job.w and job.r) then
    return found("unclaimed", key, "it is running without claim, worker or run")
  end
  if state ~= "running" and (job.c or job.w) then found("unclaimed", key, "it is " .. state .. " and has a claim or worker") end
  if FINAL[state] ~= (job.z and true or nil) then found("misplaced", key, "it is " .. state .. " and its end does not fit") end
  if job.u and try("HGET", base .. ":unique", job.u) ~= key then
    found("unique", key, "it says it holds the unique key " .. job.u .. " and does not")
  end
end

local function check_record(key)
  local job, why = load(base, key)
  local places, aside = {}, false
  for _, state in ipairs(STATES) do
    if try("ZSCORE", base .. ":" .. state, key) then places[#places + 1] = state end
    aside = aside or try("ZSCORE", base .. ":quarantine", state .. " " .. key)
  end
  if #places ~= 1 and not aside and why ~= "absent" then
    found("misplaced", key, "it is listed in " .. #places .. " states: " .. table.concat(places, ", "))
  end
end

if IS_STATE[part] or part == "quarantine" then
  local keys = try("ZRANGE", base .. ":" .. part, position, position + size - 1)
  if not keys then
    found("corrupt", part, "it is not a sorted set")
  else
    if #keys == size then findings[1] = text(position + size) end
    for _, key in ipairs(keys) do
      local state, aside = string.match(key, "^(%S+) (.+)$")
      if part ~= "quarantine" then
        check_indexed(key, part)
      else
        found("unreadable", aside or key, "it was " .. (state or "in no state") .. " and is quarantined")
      end
    end
  end
elseif part == "unique" then
  local page = try("HSCAN", base .. ":unique", ARGV[2], "COUNT", size)
  if page then findings[1] = page[1] else found("corrupt", part, "it is not a hash") end
  local held = page and page[2] or {}
  for i = 1, #held, 2 do
    local job = load(base, held[i + 1])
    if not job or job.u ~= held[i] then found("unique", held[i + 1], "it holds the unique key " .. held[i] .. " without saying so") end
  end
else
  local settings = try("HGET", base, "seq")
  if settings == nil or not is_number(settings) then found("corrupt", "settings", "they cannot be read") end
  for i = 4, #ARGV do check_record(ARGV[i]) end
end
return findings
