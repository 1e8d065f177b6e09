-- Commit a batch of a partition: all steps happen, or none does. So a message is counted once, whichever process dies.
-- KEYS: the owner's lease, the checkpoint, the idle symbols, the outbox, the features, the log, the counters, the missing trades, the
-- entry of rebuilt states, the dead letters, and where there is a tape, what it has of the log.
-- ARGV: eight values, then the lists of steps 4 to 8, each behind its length; a letter of step 8 is a list of its own.

local owner, state, idle, outbox, features, events, counters, holes, kept, dead, taped = unpack(KEYS)
local token, lease_ms, group, after_id, last_id, kept_from, n_entries, maxlen = unpack(ARGV, 1, 8)
local at = 9

-- Return the places of the first and the last item of the list that begins at `at`, and move `at` behind it.
local function next_list()
  local first = at + 1
  at = first + tonumber(ARGV[at])
  return first, at - 1
end

-- 1. Fence: a worker that has lost its lease is told so and changes nothing.
if redis.call('GET', owner) ~= token then return redis.error_reply('FENCED') end
--    And the lease counts on the Redis that gave it: another one may have come back without the end of the log that the batch
--    was read from, so that it holds messages that are gone, come again, or whose ids are those of other messages now.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
if string.match(token, '[^:]*$') ~= server then return redis.error_reply('OTHER SERVER') end
-- 2. Position: the batch begins where the last commit ended, and its last entry is in the log. Else that commit is not the one
--    that the worker knows of, or somebody has emptied Redis, and the batch would double rows or leave some out.
local saved_id = redis.call('HGET', state, 'last_id') or redis.call('HGET', state, 'state_id') or '0-0'
if saved_id ~= after_id then return redis.error_reply('OTHER POSITION') end
if tonumber(n_entries) > 0 and not redis.call('XRANGE', events, last_id, last_id)[1] then
  return redis.error_reply('OTHER POSITION')
end
-- 3. Renew the lease. A full server refuses the first write of a script only, so the first write needs no memory.
redis.call('PEXPIRE', owner, lease_ms)
-- 4. Save how far the log is processed, and the state; 4,000 arguments at a time, because Lua's stack is small.
local entries = redis.call('HINCRBY', state, 'entries', n_entries)
redis.call('HSET', state, 'last_id', last_id)
local function in_parts(command, key)
  local first, last = next_list()
  for from = first, last, 4000 do redis.call(command, key, unpack(ARGV, from, math.min(from + 3999, last))) end
end
in_parts('HDEL', state) -- of symbols that left the memory
in_parts('HSET', state)
in_parts('HDEL', idle) -- of symbols that were heard again
in_parts('HSET', idle)
-- 5. Append the rows to the outbox, for the offline store.
local first, last = next_list()
for i = first, last do redis.call('XADD', outbox, '*', 'rows', ARGV[i]) end
-- 6. Append the normalised rows to the features, for the signal service.
first, last = next_list()
for i = first, last, 4 do
  redis.call('XADD', features, 'MAXLEN', '~', maxlen, '*', 'symbol', ARGV[i], 'event_timestamp', ARGV[i + 1],
    'created', ARGV[i + 2], 'values', ARGV[i + 3])
end
-- 7. Add to the counters, and to what is known of missing trades. Of these 100 symbols are named at most, four facts each; counts of
--    further ones are those of *.
first, last = next_list()
for i = first, last, 2 do redis.call('HINCRBY', counters, ARGV[i], ARGV[i + 1]) end
local function has_place(name) return redis.call('HEXISTS', holes, name) == 1 or redis.call('HLEN', holes) < 400 end
first, last = next_list()
for i = first, last, 2 do
  local name = has_place(ARGV[i]) and ARGV[i] or '* ' .. string.match(ARGV[i], '%S+$')
  redis.call('HINCRBY', holes, name, ARGV[i + 1])
end
first, last = next_list()
for i = first, last, 2 do
  if has_place(ARGV[i]) then redis.call('HSET', holes, ARGV[i], ARGV[i + 1]) end
end
-- 8. Append the dead letters.
while at <= #ARGV do
  first, last = next_list()
  redis.call('XADD', dead, '*', unpack(ARGV, first, last))
end
-- 9. Move the consumer group, which tells how many entries wait.
redis.call('XGROUP', 'SETID', events, group, last_id, 'ENTRIESREAD', entries)
-- 10. Trim the log: it keeps what the saved state lacks, the history that was asked for, what rebuilt states lack, and where there is a
--     tape, what the tape lacks.
local function before(a, b) -- whether an entry id comes before another
  local a_ms, a_n = string.match(a, '(%d+)-(%d+)')
  local b_ms, b_n = string.match(b, '(%d+)-(%d+)')
  a_ms, b_ms = tonumber(a_ms), tonumber(b_ms)
  return a_ms < b_ms or (a_ms == b_ms and tonumber(a_n) < tonumber(b_n))
end
for _, needed in ipairs({redis.call('GET', kept) or kept_from, taped and (redis.call('GET', taped) or '0-0')}) do
  if before(needed, kept_from) then kept_from = needed end
end
redis.call('XTRIM', events, 'MINID', '~', kept_from)
return 1
