-- Note a sign of life of a process. Return for how many milliseconds Redis has had signs of life without a pause, and the living
-- processes of the role. A pause means that Redis was away, has lost its newest writes, or that no process was alive.
-- KEYS: the role's members, and the newest sign of life of all roles. ARGV: the process, the milliseconds after which a silent one is
-- dead, and the milliseconds without a sign of life that are a pause.

local time = redis.call('TIME')
local now, ttl = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ttl)
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + ttl, '+inf') -- the server's clock was set back
local seen = redis.call('HMGET', KEYS[2], 'last', 'since')
local last, since = tonumber(seen[1]), tonumber(seen[2])
if not last then -- the first sign of all; the uptime is negative if the clock was set back
  since = now - 1000 * string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%-?%d+)')
elseif now < last or now - last > tonumber(ARGV[3]) then
  since = now
end
redis.call('HSET', KEYS[2], 'last', now, 'since', since)
return {math.max(now - since, 0), redis.call('ZRANGE', KEYS[1], 0, -1)}
