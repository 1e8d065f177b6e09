-- Put the message of a dead letter back into its stream, unless it was put back before.
-- KEYS: the stream, the marks of the letters that were put back into it, and where it is a log, the number of partitions that its entries
-- are of. ARGV: the letter's id, the number of partitions that the caller knows, then the message's fields and values.
-- Return 1 and the new entry, or 0 and the entry of an earlier retry.

local target, retried = KEYS[1], KEYS[2]
local done = redis.call('HGET', retried, ARGV[1])
if done then return {0, done} end
local number = KEYS[3] and redis.call('GET', KEYS[3]) or ''
if number ~= ARGV[2] then return redis.error_reply('PARTITIONS ' .. number) end
local id = redis.call('XADD', target, '*', unpack(ARGV, 3))
redis.call('HSET', retried, ARGV[1], target .. ' ' .. id)
return {1, target .. ' ' .. id}
