-- Let the value of an idle symbol say that its state is at the tape, if it is still the state that was written there.
-- KEYS: the idle symbols of a partition. ARGV: the symbol, its value as it was read, its new value.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
