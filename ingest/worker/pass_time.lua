-- Append ticks and leaves to the logs, unless Redis was away or has lost its newest writes: then what is to be appended was decided in
-- another Redis than this one, and messages that were lost may be sent again. Return 1 where they were appended, else 0.
-- KEYS: the newest sign of life of all roles, and the logs. ARGV: the milliseconds without a sign of life that are a pause, the
-- milliseconds that must lie between the last pause and the next argument or 0, the time until which all entries are in the logs, and for each
-- entry its log, its kind and its data. What came soon after a pause may have waited for its end with its sender, and be as old as that.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = redis.call('HMGET', KEYS[1], 'last', 'since')
local last, since, well = tonumber(seen[1]), tonumber(seen[2]), tonumber(ARGV[2])
if not last or now < last or now - last > tonumber(ARGV[1]) then return 0 end
if well > 0 and tonumber(ARGV[3]) - since < well then return 0 end
for i = 4, #ARGV, 3 do
  redis.call('XADD', KEYS[1 + tonumber(ARGV[i])], '*', 'kind', ARGV[i + 1], 'data', ARGV[i + 2])
end
return 1
