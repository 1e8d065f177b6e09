-- Append entries to a stream, unless it is a log that takes entries of another number of partitions: all of them or none.
-- KEYS: the stream, and the number of partitions that its entries are of.
-- ARGV: the number of partitions that the caller knows, then for each entry its id or *, how many words it has, and the words.

local number = redis.call('GET', KEYS[2]) or ''
if number ~= ARGV[1] then return redis.error_reply('PARTITIONS ' .. number) end
local at = 2
while at <= #ARGV do
  local words = ARGV[at + 1]
  redis.call('XADD', KEYS[1], ARGV[at], unpack(ARGV, at + 2, at + 1 + words))
  at = at + 2 + words
end
return 1
