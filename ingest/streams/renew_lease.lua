-- Renew a lease, and return 1; return 0 where another process holds it or it has ended. One that another Redis gave ends now.
-- KEYS: the lease. ARGV: its token, and the milliseconds from now until it ends.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
if string.match(ARGV[1], '[^:]*$') ~= server then
  redis.call('DEL', KEYS[1])
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
