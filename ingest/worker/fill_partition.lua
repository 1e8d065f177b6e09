-- Give a new partition some of what it goes on with, unless it goes on already. Return 1, or 0 where it does.
-- KEYS: what its log says of the number of partitions, and a key. ARGV: the new number of partitions; '' where the key is a hash, whose fields
-- and values follow, 'none' where the key is deleted, else for how many milliseconds its value is kept, or 0 for good, and the value.

if redis.call('GET', KEYS[1]) == ARGV[1] then return 0 end
if ARGV[2] == 'none' then
  redis.call('DEL', KEYS[2])
elseif ARGV[2] == '' then
  redis.call('HSET', KEYS[2], unpack(ARGV, 3))
elseif ARGV[2] == '0' then
  redis.call('SET', KEYS[2], ARGV[3])
else
  redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2])
end
return 1
