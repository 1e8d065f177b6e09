-- End a lease, and return 1; return 0 where another process holds it or it has ended.
-- KEYS: the lease. ARGV: its token.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
