-- Give a free seat to a process, and return the fencing token of the lease; return nil where another process holds it. The token ends
-- with the id of this Redis: a lease does not count on one that was promoted or started since, which may lack its newest entries and
-- give their ids again.
-- KEYS: the lease, the counter of its tokens, and for a seat that belongs to a code, its checkpoint.
-- ARGV: the milliseconds of a lease, the milliseconds of the longest lease that is ever given, the process, and the code that the process has
-- read in the checkpoint (empty where there is none).

-- 1. Look whether the seat is free. More than the longest lease is left only where the server's clock was set back. And look whether its
--    state was saved by other code meanwhile, which this process may not continue.
local left = redis.call('PTTL', KEYS[1])
if left ~= -2 and left <= tonumber(ARGV[2]) then return false end
if KEYS[3] and (redis.call('HGET', KEYS[3], 'kernels') or '') ~= ARGV[4] then return false end
-- 2. Give a lease with a token that no lease had before.
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
local token = redis.call('INCR', KEYS[2]) .. ':' .. ARGV[3] .. ':' .. server
redis.call('SET', KEYS[1], token, 'PX', ARGV[1])
return token
