-- Return the server's time, and until when the entries of the streams have been moved on: the time at which the oldest entry
-- that is still there arrived, or the server's time where there is none. Both in milliseconds.
-- KEYS: streams whose entries are deleted when they are moved.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local moved = now
for _, stream in ipairs(KEYS) do
  local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  if oldest then moved = math.min(moved, tonumber(string.match(oldest[1], '%d+'))) end
end
return {now, moved}
