-- Append ticks and leaves to the log of a partition; return 1. Append nothing and return 0 where the lease of the partition has ended, was given
-- by another Redis, or was not renewed just before: then Redis was away, or is one of a moment ago, and messages that were lost may be
-- sent again. Or where the log takes no entries of the number of partitions that the owner knows.
-- KEYS: the owner's lease, the log, the number of partitions that its entries are of.
-- ARGV: the owner's token, how many milliseconds of the lease are left where it was renewed just before, the number of partitions, then for
-- each entry its kind and its data.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
if string.match(ARGV[1], '[^:]*$') ~= server then return 0 end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then return 0 end
if (redis.call('GET', KEYS[3]) or '') ~= ARGV[3] then return 0 end
for i = 4, #ARGV, 2 do
  redis.call('XADD', KEYS[2], '*', 'kind', ARGV[i], 'data', ARGV[i + 1])
end
return 1
