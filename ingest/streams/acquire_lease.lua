-- Give a free seat to a process, and return the fencing token of the lease; return nil where another process holds it.
-- KEYS: the lease, and the counter of its tokens. ARGV: the milliseconds of a lease, and the process.

local left = redis.call('PTTL', KEYS[1])
if left ~= -2 and left <= tonumber(ARGV[1]) then return false end -- more is left only where the clock was set back
local token = redis.call('INCR', KEYS[2]) .. ':' .. ARGV[2]
redis.call('SET', KEYS[1], token, 'PX', ARGV[1])
return token
