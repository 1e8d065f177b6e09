-- Return for how many milliseconds the number of partitions of today counts; 0 where the clock was set back.
-- KEYS: what is known of its raising.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return math.max(now - (redis.call('HGET', KEYS[1], 'at_ms') or 0), 0)
