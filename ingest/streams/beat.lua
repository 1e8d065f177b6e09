-- Note a sign of life of a process, and return the living processes of its role.
-- KEYS: the role's members. ARGV: the process, and the milliseconds after which a silent one is dead.

local time = redis.call('TIME')
local now, ttl = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ttl)
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + ttl, '+inf') -- the server's clock was set back
return redis.call('ZRANGE', KEYS[1], 0, -1)
