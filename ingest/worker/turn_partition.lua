-- Let a log say that it takes entries of another number of partitions, or none for now; return 1. Return nil and change nothing where the
-- lease of the partition was lost or given by another Redis, or the log says something else.
-- KEYS: the owner's lease, what the log says. ARGV: the owner's token, what the log says so far, and from now on.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
if string.match(ARGV[1], '[^:]*$') ~= server then return false end
local said = redis.call('GET', KEYS[2]) or ''
if said ~= ARGV[2] and said ~= ARGV[3] then return false end
redis.call('SET', KEYS[2], ARGV[3])
return 1
