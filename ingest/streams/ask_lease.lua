-- Ask the owner of a seat to hand it over to a process. Return the token if it was handed over; else nil.
-- KEYS: the lease, and who asks for it. ARGV: the process, and the milliseconds for which the question holds.

local token = redis.call('GET', KEYS[1])
if token and string.match(token, '^%d+:(.*):%x*$') == ARGV[1] then return token end
local heir = redis.call('GET', KEYS[2])
if not heir or heir == ARGV[1] then redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2]) end
return false
