-- Hand a seat over to the process that asks for it, with a token that no lease had before; return 1. Return 0 where nothing has changed: the
-- lease was lost, or that process does not ask any more.
-- KEYS: the lease, the counter of its tokens, and who asks for it. ARGV: the token of the owner, the process that asks, and the milliseconds of
-- a lease.

if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('GET', KEYS[3]) ~= ARGV[2] then return 0 end
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
if string.match(ARGV[1], '[^:]*$') ~= server then return 0 end
local token = redis.call('INCR', KEYS[2]) .. ':' .. ARGV[2] .. ':' .. server
redis.call('SET', KEYS[1], token, 'PX', ARGV[3])
redis.call('DEL', KEYS[3])
return 1
