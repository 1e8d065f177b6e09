-- Store the number of partitions and the name of the deployment, unless other ones are stored: both or neither.
-- KEYS: number of partitions, id of the deployment. ARGV: number, name (empty where none is set). Return what was stored before.
local stored = redis.call('MGET', KEYS[1], KEYS[2])
local fits = (not stored[1] or stored[1] == ARGV[1]) and (ARGV[2] == '' or not stored[2] or stored[2] == ARGV[2])
if fits then
  redis.call('SET', KEYS[1], ARGV[1])
  if ARGV[2] ~= '' then
    redis.call('SET', KEYS[2], ARGV[2])
  end
end
return stored
