-- Return how many entries a log has lost of those that a worker has read: Redis came back older, without them. Count them.
-- KEYS: the log, the counters, and what was counted of the newest loss. ARGV: the last entry that the worker has read, and how many entries
-- the log had up to there since it began.

local log, counters, counted = unpack(KEYS)
local last, read = ARGV[1], tonumber(ARGV[2])

-- 1. A log loses its end only. So nothing is lost if that entry is there.
if redis.call('XRANGE', log, last, last)[1] then return 0 end
-- 2. How many of them came back? All that were ever added, but those that came later. Where some of these are trimmed already, too many
--    count as come back; and where that entry itself is trimmed, all of them do.
local there = 0
if redis.call('EXISTS', log) == 1 then
  local about = redis.call('XINFO', 'STREAM', log)
  for i = 1, #about, 2 do
    if about[i] == 'entries-added' then there = about[i + 1] end
  end
  if redis.call('XRANGE', log, '-', last, 'COUNT', 1)[1] then
    there = there - #redis.call('XRANGE', log, '(' .. last, '+')
  else
    there = there - redis.call('XLEN', log)
  end
end
-- 3. Count each once, also where this is sent again, or a worker had read less.
local from, to = string.match(redis.call('GET', counted) or '', '(%d+) (%d+)')
local known = tonumber(from) == there and tonumber(to) or there
if read <= known then return 0 end
redis.call('SET', counted, string.format('%d %d', there, read))
redis.call('HINCRBY', counters, 'lost.entries', read - known)
return read - known
