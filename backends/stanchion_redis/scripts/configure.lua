-- configure.lua: change some of a queue's settings.
-- KEYS     1 the base key of the queue; of its keys wake is touched
-- ARGV     1 how many settings n are asked for · n names · then times name, value: new values as JSON, "" for the default
-- returns  {1 if the queue was not registered yet, for each name: its value before, "" where it had its default}
local base, asked = KEYS[1], tonumber(ARGV[1])
local found = try("HMGET", base, "seq", "new", unpack(ARGV, 2, asked + 1))
if not found then return redis.error_reply("CORRUPT " .. base .. " is not a hash") end

-- A queue begins to exist with its counter; until the registry has it, the counter says so.
local sets, unsets = {}, {}
if not found[1] then sets = {"seq", "0", "new", "1"} end
for i = asked + 2, #ARGV, 2 do
  if ARGV[i + 1] == "" then
    unsets[#unsets + 1] = ARGV[i]
  else
    sets[#sets + 1] = ARGV[i]
    sets[#sets + 1] = ARGV[i + 1]
  end
end
if #unsets > 0 then needs(base, "HDEL") end
if #sets > 0 then redis.call("HSET", base, unpack(sets)) end
if #unsets > 0 then redis.call("HDEL", base, unpack(unsets)) end
if redis.call("HMGET", base, "paused")[1] ~= "true" then wake(base) end
local answers = {(found[2] or not found[1]) and 1 or 0}
for i = 1, asked do answers[i + 1] = found[i + 2] or "" end
return answers
