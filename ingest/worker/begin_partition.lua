-- Let a new partition go on behind an entry of the one that it was divided from, unless it goes on already: all that it needs is there.
-- KEYS: what its log says of the number of partitions, the log, its checkpoint. ARGV: the new number of partitions, the entry, the group of
-- readers, the partition that it was divided from. Return 1, or 0 where it goes on already.

if redis.call('GET', KEYS[1]) == ARGV[1] then return 0 end
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('XGROUP', 'CREATE', KEYS[2], ARGV[3], '0', 'MKSTREAM') end
redis.call('XSETID', KEYS[2], ARGV[2])
redis.call('HSET', KEYS[3], 'last_id', ARGV[2], 'state_id', ARGV[2], 'entries', '0', 'began', ARGV[4] .. ' ' .. ARGV[2])
redis.call('SET', KEYS[1], ARGV[1])
return 1
