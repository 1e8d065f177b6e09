-- Append rows of one log's symbols to a log of symbols that follow them, each once. Return how many were appended now.
-- KEYS: the log, the hash of how far it has the rows of each log, the number of partitions that the entries of the log are of.
-- ARGV: the Redis that the rows were made on, as on another one they may be of entries that are gone, or '' where the two logs may be of two
-- servers; the number of partitions that the caller knows; the log that the rows are of, then for each row the id of the entry that
-- completed it, in order, and its data.

local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
if ARGV[1] ~= '' and ARGV[1] ~= server then return 0 end
-- A log that is closed for a larger number of partitions takes the rows of entries that came before, until all logs are worked to their ends.
local number = redis.call('GET', KEYS[3]) or ''
if number ~= ARGV[2] and not string.find(number, ' ', 1, true) then return redis.error_reply('PARTITIONS ' .. number) end
local function numbers(text) return tonumber(string.match(text, '^%d+')), tonumber(string.match(text, '%d+$')) end
local had_ms, had_n = numbers(redis.call('HGET', KEYS[2], ARGV[3]) or '0-0')
local appended = 0
for i = 4, #ARGV, 2 do
  local ms, n = numbers(ARGV[i])
  if ms > had_ms or (ms == had_ms and n > had_n) then
    redis.call('XADD', KEYS[1], '*', 'kind', 'neighbour', 'data', ARGV[i + 1])
    appended = appended + 1
  end
end
if appended > 0 then redis.call('HSET', KEYS[2], ARGV[3], ARGV[#ARGV - 1]) end
return appended
