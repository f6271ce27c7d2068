-- damage.lua: jobs that cannot be read are quarantined, and put back once they can be.

local quarantined = {}                  -- base key, key of each job that this call quarantined

-- Seldom: a job cannot be read. Move it out of the index it stands in. First a write that a full server accepts.
local function quarantine(base, state, key)
  local index = base .. ":" .. state
  local score = try("ZSCORE", index, key)
  if not score then return end
  needs(base, "ZADD", "HGET")
  local book = book_of(base)
  redis.call("ZREM", index, "")
  try("ZADD", base .. ":quarantine", score, state .. " " .. key)
  redis.call("ZREM", index, key)
  if book then count(book, state .. QUARANTINED, 1) end
  move_tags(base, state, nil, try("HGET", base .. ":j:" .. key, "g"), score, key)
  quarantined[#quarantined + 1] = base
  quarantined[#quarantined + 1] = key
end

-- Seldom: a job was quarantined. If it can be read again, put it back where it stood; whether it is listed now.
local function restore(base, entry, score)
  local state, key = string.match(entry, "^(%S+) (.+)$")
  local job = key and load(base, key)
  if not job then return false end
  local index, number = base .. ":" .. job.s, tonumber(score)
  local listed = try("ZSCORE", index, key)
  if not listed and (job.s ~= state or (state == "queued" and (number < 0 or number >= FOREVER))) then return false end
  needs(base, "ZADD")
  local book = not listed and book_of(base)
  redis.call("ZREM", index, "")
  if not listed then
    redis.call("ZADD", index, score, key)
    if book then count(book, RESTORED .. state, 1) end
  end
  redis.call("ZREM", base .. ":quarantine", entry)
  if not listed then move_tags(base, nil, state, job.g, score, key) end
  return true
end

-- Seldom: where does a job stand in the index of its state? Nil if nowhere; one that can be read again is put back.
local function standing(base, state, key)
  local index = base .. ":" .. state
  local score = try("ZSCORE", index, key)
  if score then return score end
  local entry = state .. " " .. key
  local aside = try("ZSCORE", base .. ":quarantine", entry)
  return aside and restore(base, entry, aside) and try("ZSCORE", index, key)
end
