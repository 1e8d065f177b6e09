-- Let the new number of partitions count, now that all logs take entries of it. Return 1, or 0 where another one counts than the caller knows.
-- KEYS: the number of partitions, and what is known of its raising. ARGV: the number that counted so far, and the new one.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local numbers = redis.call('HGET', KEYS[2], 'numbers') or ARGV[1]
local time = redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[2], 'numbers', numbers .. ' ' .. ARGV[2], 'at_ms', time[1] * 1000 + math.floor(time[2] / 1000))
return 1
