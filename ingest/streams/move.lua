-- Move the records of a batch into their streams: all of them or none. Return how many were moved now.
-- KEYS: the edge's counters, the dead letters, the lease, the offsets and the notes where there are some, then streams.
-- ARGV: token or '', the Redis that the entries were read from or '', group or '', number of offsets, number of facts, number of notes,
-- the offsets, the facts, the notes, the records.

local KEYS, ARGV, call = KEYS, ARGV, redis.call  -- locals are faster than globals
local token, from, group = ARGV[1], ARGV[2], ARGV[3]
local places, facts, notes, at = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), 7
local counters, lease, offsets = KEYS[1], KEYS[3], KEYS[4]

-- 1. Fence: without the lease of the seat, and on another Redis than the entries were read from, change nothing: they may be gone there,
--    and their ids may be those of other entries.
if token ~= '' and call('GET', lease) ~= token then return redis.error_reply('FENCED') end
if from ~= '' and string.match(call('INFO', 'replication'), 'master_replid:(%x+)') ~= from then return redis.error_reply('FENCED') end

-- 2. Offsets, each a name, the value that it must have, and the one after. Where the hash holds another value, change
--    nothing. Else write the new ones.
local records = at + 3 * places + 2 * facts + 2 * notes
for i = at, at + 3 * places - 1, 3 do
  if call('HGET', offsets, ARGV[i]) ~= ARGV[i + 1] then return redis.error_reply('OFFSETS CHANGED') end
end
for i = at, at + 3 * places - 1, 3 do
  if ARGV[i + 2] ~= ARGV[i + 1] then call('HSET', offsets, ARGV[i], ARGV[i + 2]) end
end

local first_fact, first_note, last, moved = at + 3 * places, at + 3 * places + 2 * facts, #ARGV, 0
at = records
while at <= last do
  -- 3. Delete the entry of the record from its stream, and acknowledge it: the record's stream (0: none), its id there, and
  --    the number of its copies. An entry that is gone was moved before: leave its record out. So each entry is moved
  --    once, whatever dies and however many processes move the same.
  local source, id, copies = unpack(ARGV, at, at + 2)
  local present = source == '0' or call('XDEL', KEYS[tonumber(source)], id) == 1
  if group ~= '' then call('XACK', KEYS[tonumber(source)], group, id) end
  if present then moved = moved + 1 end
  at = at + 3
  -- 4. Append the copies of the record, in the order of the batch: the stream of each, and its words behind their number.
  for _ = 1, copies do
    local target, n = tonumber(ARGV[at]), ARGV[at + 1]
    if present then
      call('XADD', KEYS[target], '*', unpack(ARGV, at + 2, at + 1 + n))
      -- 5. Count what was refused. The first field of a dead letter is its reason.
      if target == 2 then call('HINCRBY', counters, 'refused.' .. ARGV[at + 3], 1) end
    end
    at = at + 2 + n
  end
end

-- 6. Note facts about the work: add a number, store a text. Store the notes of the producer, each a field and its text.
for i = first_note, records - 1, 2 do call('HSET', KEYS[5], ARGV[i], ARGV[i + 1]) end
for i = first_fact, first_note - 1, 2 do
  call(tonumber(ARGV[i + 1]) and 'HINCRBY' or 'HSET', counters, ARGV[i], ARGV[i + 1])
end
return moved
