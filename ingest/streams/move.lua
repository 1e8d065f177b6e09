-- Append the records of a batch to one stream, each once, and move the markers of their sources: all of it or nothing. Return how many
-- were appended now.
-- KEYS: the stream, the number of partitions that its entries are of, the counters and the notes of its place, then the marker of each
-- source. All are of one slot.
-- ARGV: the Redis that the records were read from or '', the number of partitions that the caller knows, '1' for new input, '1' where the
-- records are dead letters, how many notes and markers there are, the markers, the notes, the records.

local KEYS, ARGV, call = KEYS, ARGV, redis.call  -- locals are faster than globals
local stream, counters, notes = KEYS[1], KEYS[3], KEYS[4]
local from, is_new, is_dead = ARGV[1], ARGV[3] == '1', ARGV[4] == '1'
local n_notes, n_markers, at = tonumber(ARGV[5]), tonumber(ARGV[6]), 7

-- Return whether a marker is before a position. Its numbers may be of 64 bits, which a double does not hold, so they are compared as
-- texts: of two without leading zeros the longer one is larger.
local function is_behind(marker, ms, n)
  local a, b = marker[1], ms
  if a == b then a, b = marker[2], n end
  return #a < #b or (#a == #b and a < b)
end

-- 1. Fence: on another Redis than the records were read from, change nothing: they may be gone there, and their ids may be those of other
--    records.
if from ~= '' and string.match(call('INFO', 'replication'), 'master_replid:(%x+)') ~= from then return redis.error_reply('OTHER SERVER') end
--    And where this log takes entries of another number of partitions, which send some of its symbols elsewhere.
local number = call('GET', KEYS[2]) or ''
if number ~= ARGV[2] then return redis.error_reply('PARTITIONS ' .. number) end

-- 2. Markers, each a pair of numbers: where it must be at least, where it moves, and for how many milliseconds it is kept (0: for good).
--    Where one is not that far, this place came back older than the caller knows: change nothing.
local before = {}
for i = 1, n_markers do
  local found = call('GET', KEYS[4 + i]) or '0-0'
  before[i] = {string.match(found, '(%d+)-(%d+)')}
  if is_behind(before[i], ARGV[at], ARGV[at + 1]) then return redis.error_reply('BEHIND ' .. found) end
  at = at + 5
end
--    A full server refuses the first write of a script only. What is moved within Redis makes room where it came from, so its first
--    write needs no memory; new input is refused whole.
if not is_new then call('HDEL', counters, '') end
local has_moved = false
for i = 1, n_markers do
  local ms, n, kept_ms = unpack(ARGV, 5 * i + 4, 5 * i + 6)
  if is_behind(before[i], ms, n) then
    call('SET', KEYS[4 + i], ms .. '-' .. n)
    has_moved = true
  end
  if kept_ms ~= '0' then call('PEXPIRE', KEYS[4 + i], kept_ms) end
end

-- 3. Notes of the producer, each a field and its text, which are those of the newest batch.
local records = at + 2 * n_notes
if has_moved then
  for i = at, records - 1, 2 do call('HSET', notes, ARGV[i], ARGV[i + 1]) end
end

-- 4. Append what lies behind the marker of its source: the number of the marker, the position, the number of words, and the words. What
--    does not was appended before. So each record is appended once, whatever dies and however many processes move the same.
local last, appended = #ARGV, 0
at = records
while at <= last do
  local marker, words = before[tonumber(ARGV[at])], ARGV[at + 3]
  if is_behind(marker, ARGV[at + 1], ARGV[at + 2]) then
    call('XADD', stream, '*', unpack(ARGV, at + 4, at + 3 + words))
    appended = appended + 1
    -- 5. Count what was refused. The first field of a dead letter is its reason.
    if is_dead then call('HINCRBY', counters, 'refused.' .. ARGV[at + 5], 1) end
  end
  at = at + 4 + words
end
return appended
