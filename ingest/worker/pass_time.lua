-- Append ticks and leaves to the logs; return 1. Append nothing and return 0 where Redis was away or has lost its newest writes: then another
-- Redis than this one told what is to be appended, and messages that were lost may be sent again.
-- KEYS: the newest sign of life of all roles, then the logs.
-- ARGV: 1. the milliseconds without a sign of life that are a pause;
--       2. how many milliseconds the last pause must end before the time of argument 3, or 0 if that does not matter. What came soon after
--          a pause may have waited for its end with its sender, and be as old as that;
--       3. the time in milliseconds until which all entries are in the logs;
--       then for each entry the number of its log (1 is the first log), its kind and its data.

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
