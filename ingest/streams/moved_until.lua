-- Return the server's time, and until when the entries of a stream have been moved on: the time at which the oldest entry that is
-- still there arrived, or the server's time where there is none. Both in milliseconds.
-- KEYS: a stream whose entries are deleted when they are moved.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
return {now, oldest and math.min(now, tonumber(string.match(oldest[1], '%d+'))) or now}
