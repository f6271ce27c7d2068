-- wakes.lua: workers that wait are woken.

-- Wake one waiting worker: there may be something. A hint, so nothing may fail because of it.
local function wake(base)
  if redis.pcall("LLEN", base .. ":wake") == 0 then redis.pcall("LPUSH", base .. ":wake", "1") end
end

-- Wake if this job now is the first to become due.
local function wake_if_first(base, state, key)
  if redis.pcall("ZRANK", base .. ":" .. state, key) == 0 then wake(base) end
end
