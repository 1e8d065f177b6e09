-- Ask that the number of partitions be raised. Return the number that it is raised to now: another one where that was asked for before.
-- KEYS: the number that it is raised to. ARGV: the number of today, and the new one.

local goal = tonumber(redis.call('GET', KEYS[1]) or 0)
if goal > tonumber(ARGV[1]) then return goal end
redis.call('SET', KEYS[1], ARGV[2])
return tonumber(ARGV[2])
