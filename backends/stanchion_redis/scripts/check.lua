-- check.lua: look for damage in one part of a queue's store.
-- KEYS     1 the base key of the queue; it and of its keys <state>, t:<state>:<tag>, j:<key>, a:<key>, b:<key>, unique,
--          quarantine are read
-- ARGV     1 part: a state, "quarantine", "unique" or "records" · 2 position in it, "0" at first · 3 size of the page ·
--          for records: 4… what names of keys end in: "j:" and a key, "a:" and a key, …
-- returns  {position of the next page or "0", fault, key or part, detail, …}; faults as in stanchion.contract.answers
local base, part, position, size = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local findings = {"0"}
local function found(fault, where, detail)
  findings[#findings + 1] = fault
  findings[#findings + 1] = where
  findings[#findings + 1] = detail
end

local function check_tags(key, state, tags)
  local score = try("ZSCORE", base .. ":" .. state, key)
  for one in string.gmatch(tags, "[^\n]+") do
    if try("ZSCORE", base .. ":t:" .. state .. ":" .. one, key) ~= score then
      found("misplaced", key, "it has the tag " .. one .. " and is not listed under it as it should be")
    end
  end
end

local function check_indexed(key, state)
  local job, why = load(base, key)
  if not job then return found("unreadable", key, "it is listed as " .. state .. " and its record is " .. why) end
  if job.s ~= state then return found("misplaced", key, "it is listed as " .. state .. " and says it is " .. job.s) end
  if not job.A and redis.call("EXISTS", base .. ":a:" .. key) == 0 then
    return found("unreadable", key, "it is " .. state .. " and its arguments are absent")
  end
  if state == "running" and not (job.c and job.w and job.r) then
    return found("unclaimed", key, "it is running without claim, worker or run")
  end
  if IS_FINAL[state] ~= (job.z and true or nil) then found("misplaced", key, "it is " .. state .. " and its end does not fit") end
  if job.u and try("HGET", base .. ":unique", job.u) ~= key then
    found("unique", key, "it says it holds the unique key " .. job.u .. " and does not")
  end
  if job.g then check_tags(key, state, job.g) end
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

-- Arguments or a body that no head knows of.
local function check_apart(kind, key, field)
  local head = try("HMGET", base .. ":j:" .. key, "t", field)
  local known = head and head[1] and ((kind == "a" and not head[2]) or (kind == "b" and head[2]))
  if head and not known then found("corrupt", kind .. ":" .. key, "no record knows of it") end
end

local function check_tag(state, tag)
  local keys = try("ZRANGE", base .. ":t:" .. state .. ":" .. tag, 0, size - 1)
  if not keys then return found("corrupt", "t:" .. state .. ":" .. tag, "it is not a sorted set") end
  for _, key in ipairs(keys) do
    local head = try("HMGET", base .. ":j:" .. key, "s", "g") or {}
    if head[1] ~= state or not string.find("\n" .. (head[2] or "") .. "\n", "\n" .. tag .. "\n", 1, true) then
      found("misplaced", key, "it is listed under the tag " .. tag .. " as " .. state .. " and should not be")
    end
  end
end

local function check_key(name)
  local kind, rest = string.sub(name, 1, 1), string.sub(name, 3)
  if kind == "j" then return check_record(rest) end
  if kind == "a" then return check_apart(kind, rest, "A") end
  if kind == "b" then return check_apart(kind, rest, "B") end
  check_tag(string.match(rest, "^([^:]*):(.*)$"))
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
  for i = 4, #ARGV do check_key(ARGV[i]) end
end
return findings
