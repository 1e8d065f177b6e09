-- Renew a lease, and return the process that asks for its seat, or 1 where none does; return 0 where another process holds it or it has ended.
-- One that another Redis gave ends now.
-- KEYS: the lease, and for a seat that can be handed over, who asks for it. ARGV: its token, and the milliseconds from now until it ends.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
if string.match(ARGV[1], '[^:]*$') ~= server then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return KEYS[2] and redis.call('GET', KEYS[2]) or 1
