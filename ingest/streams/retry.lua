-- Put the message of a dead letter back into its stream, unless it was put back before.
-- KEYS: the letters, the stream, the marks. ARGV: the letter's id.
-- Return 1 and the new entry; 0 and the entry of an earlier retry; -1: no such letter; -2: of another stream; -3: of too
-- many fields.

local letters, target, retried = unpack(KEYS)
local done = redis.call('HGET', retried, ARGV[1])
if done then return {0, done} end
local found = redis.call('XRANGE', letters, ARGV[1], ARGV[1])[1]
if not found then return {-1, ''} end
local entry = {}
for i = 1, #found[2], 2 do
  local name = found[2][i]
  if name == 'fields' then return {-3, ''} end
  if name == 'source' and found[2][i + 1] ~= target then return {-2, found[2][i + 1]} end
  if string.sub(name, 1, 6) == 'field:' then
    entry[#entry + 1] = string.sub(name, 7)
    entry[#entry + 1] = found[2][i + 1]
  end
end
local id = redis.call('XADD', target, '*', unpack(entry))
redis.call('HSET', retried, ARGV[1], target .. ' ' .. id)
return {1, target .. ' ' .. id}
