-- records.lua: jobs as they are stored: the head with small values, large arguments, and the body.

-- The head of a job as a table, as the flat reply, and how many bytes it has; or nil and "absent" or "unreadable".
local function load(base, key)
  local flat = try("HGETALL", base .. ":j:" .. key)
  if not flat then return nil, "unreadable" end
  if #flat == 0 then return nil, "absent" end
  local job, bytes = {}, 0
  for i = 1, #flat, 2 do
    local value = flat[i + 1]
    job[flat[i]], bytes = value, bytes + #value
  end
  local sound = job.t and job.a and IS_STATE[job.s] and is_number(job.r) and is_number(job.v) and is_number(job.p)
    and is_number(job.o) and is_number(job.a) and is_number(job.q) and is_number(job.b) and is_number(job.z)
    and #key <= KEY_BYTES and not string.find(key, "[^!-~]")
  if not sound then return nil, "unreadable" end
  return job, flat, bytes
end

-- Add a field to others, as arguments or in a flat reply.
local function add(flat, name, value)
  local n = #flat
  flat[n + 1], flat[n + 2] = name, value
end

-- Seldom: the arguments of a job lie apart. Add them to its flat head: how many bytes they have, or nil if they are missing.
local function add_arguments(base, key, flat)
  local arguments = try("GET", base .. ":a:" .. key)
  if not arguments then return nil end
  add(flat, "A", arguments)
  return #arguments
end

-- Seldom: there is a body. Add the notes that lie in it to the flat head, which names them: how many bytes they have.
local function add_notes(base, key, held, flat)
  local names, bytes = {}, 0
  for name in string.gmatch(held, "%S+") do names[#names + 1] = "n." .. name end
  if #names == 0 then return 0 end
  local values = try("HMGET", base .. ":b:" .. key, unpack(names)) or {}
  for i, name in ipairs(names) do
    if values[i] then
      add(flat, name, values[i])
      bytes = bytes + #values[i]
    end
  end
  return bytes
end

-- Seldom: a job has tags. Take it out of their indexes in one state, and put it into those in another; nil for none.
-- They are hints to those who look for them, so nothing may fail because of them.
local function move_tags(base, from, to, tags, score, key)
  for one in string.gmatch(tags or "", "[^\n]+") do
    if from then try("ZREM", base .. ":t:" .. from .. ":" .. one, key) end
    if to then try("ZADD", base .. ":t:" .. to .. ":" .. one, score, key) end
  end
end
