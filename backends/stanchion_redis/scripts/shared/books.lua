-- books.lua: a queue's ledger, which lies in its base hash: the minute of the last counting is read before the first write
-- of a call, and what it counted is written after its last.

local books = {}                        -- by base key

-- Begin to count in a queue, given the minute of its last counting. Nil if that is no number.
local function begin_book(base, minute)
  if not is_number(minute) then return nil end
  local book = {minute = tonumber(minute or 0), counts = {}}
  if book.minute > 0 and now >= (book.minute + 1) * 60000 then needs(base, "HGETALL", "ZADD", "ZREMRANGEBYSCORE", "ZREVRANGEBYSCORE") end
  books[base] = book
  return book
end

-- Read a queue's base hash as far as calls that count need it: its counter of places, the minute of the last counting, and
-- whether it is paused. Nil if it is not what it should be.
local function open_book(base)
  local found = try("HMGET", base, "seq", "minute", "paused")
  local book = found and is_number(found[1]) and begin_book(base, found[2])
  if not book then return nil end
  book.exists, book.is_paused = found[1], found[3] == "true"
  return book
end

-- Count: jobs that take a row, or in "<row>.ms", for how many ms in all they had been in the state that they leave.
local function count(book, field, number)
  book.counts[field] = (book.counts[field] or 0) + number
end

-- Seldom: a job is going to be counted that the call did not expect to count. The book to do so; nil where that cannot be.
local function book_of(base)
  if not books[base] then needs(base, "HINCRBY", "HSET") end
  return books[base] or open_book(base)
end

-- Seldom: a new minute begins. The totals are kept as they were; and when an hour ended with the last one, for longer.
local function turn(base, book)
  local minute, fields = math.floor(now / 60000), {}
  local flat = book.minute > 0 and redis.call("HGETALL", base) or {}
  redis.call("HSET", base, "minute", text(minute))
  for i = 1, #flat, 2 do  -- of all fields, only those of the ledger have a dot in their names
    if string.find(flat[i], ".", 1, true) then fields[#fields + 1] = flat[i] .. "=" .. flat[i + 1] end
  end
  if book.minute == 0 then return end
  local closed = text(book.minute) .. " " .. table.concat(fields, " ")
  try("ZADD", base .. ":minutes", text(book.minute), closed)
  try("ZREMRANGEBYSCORE", base .. ":minutes", "-inf", text(book.minute - MINUTES))
  if math.floor(book.minute / 60) == math.floor(minute / 60) then return end
  try("ZADD", base .. ":hours", text(book.minute), closed)
  local stale = try("ZREVRANGEBYSCORE", base .. ":hours", text(book.minute - HOURS), "-inf", "WITHSCORES", "LIMIT", 1, 1)
  if stale and stale[2] then try("ZREMRANGEBYSCORE", base .. ":hours", "-inf", stale[2]) end  -- the last one before stays
end

-- Write what this call counted in a queue. A number that is damaged stays so, for `check` to find.
local function close_book(base, book)
  local counts = book.counts
  if next(counts) and now >= (book.minute + 1) * 60000 then turn(base, book) end
  for field, number in pairs(counts) do
    if number > 0 then redis.pcall("HINCRBY", base, field, number == 1 and "1" or text(number)) end
  end
end

-- Do the work of a call, and write what it counted in the queues' ledgers, even if a right turns out to be missing in the
-- middle of it: what was changed by then stays changed.
local function keep_books(work)
  local sound, failure = pcall(work)
  for base, book in pairs(books) do close_book(base, book) end
  if not sound then error(type(failure) == "table" and failure or {err = failure}) end
end
