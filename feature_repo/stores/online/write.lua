-- Store the rows that are newer than what Redis holds, and return how many were stored.
-- KEYS: one hash per row, then the writer's lease if it has a token.
-- ARGV: the seconds until a key expires (0: never), the token or '', then one packed row per hash, then the names of the
-- fields that a row leaves out, packed, if one may be a record alone.

local SILENCE_TAG, SILENCE_SIZE = 0x7d, 5
local CREATED_TAG, CREATED_SIZE = 0x71, 9
local RECORD_TAG, LONE_RECORD_TAG = 0x6a, 0x62
local SECONDS, NANOS = 1, 2

-- Return seconds and nanoseconds of a serialised Timestamp, the created time, 0 if there is none, and whether the row is
-- a record alone. The silence and the created time stand in front, each if it is known; a record stands behind.
local function instant(raw)
  local at, parts, created, tag = 1, {0, 0}, 0, 0
  if string.byte(raw, at) == SILENCE_TAG then at = at + SILENCE_SIZE end
  if string.byte(raw, at) == CREATED_TAG then
    created = struct.unpack('<I8', raw, at + 1)
    at = at + CREATED_SIZE
  end
  while at <= #raw do
    tag = string.byte(raw, at)
    if tag == RECORD_TAG or tag == LONE_RECORD_TAG then break end
    local number = math.floor(tag / 8)
    local value, inverse, scale, size, byte = 0, 0, 1, 0, 0
    repeat
      at, size = at + 1, size + 1
      byte = string.byte(raw, at) or 0
      value = value + byte % 128 * scale
      if size < 10 then inverse = inverse + (127 - byte % 128) * scale end
      scale = scale * 128
    until byte < 128
    -- A varint of ten bytes is a negative number in two's complement. A double cannot hold its 64 bits, so `inverse` sums
    -- the inverted bits.
    if size == 10 then value = -1 - inverse end
    parts[number] = value
    at = at + 1
  end
  return parts[SECONDS], parts[NANOS], created, tag == LONE_RECORD_TAG
end

local token, rows, stored = ARGV[2], #KEYS, 0
local left_out
-- 1. Fence: a writer that has lost its lease stores nothing.
if token ~= '' then
  if redis.call('GET', KEYS[rows]) ~= token then return 0 end
  rows = rows - 1
end
for i = 1, rows do
  local key = KEYS[i]
  -- 2. Unpack the row, which begins with the name of the time field and the event time. Read the stored event time.
  local row = cmsgpack.unpack(ARGV[i + 2])
  local time_field, time = row[1], row[2]
  local old = redis.call('HGET', key, time_field)
  -- 3. Compare the two times to the nanosecond; of equal ones the row created later is newer. The holder of a lease also
  --    replaces a row created at the same time: an earlier holder made it, whose batch was not committed.
  local leaves_out = false
  local newer = not old
  if old then
    local old_s, old_n, old_created, was_alone = instant(old)
    local new_s, new_n, new_created, is_alone = instant(time)
    leaves_out = is_alone and not was_alone
    newer = new_s > old_s
      or (new_s == old_s and (new_n > old_n or (new_n == old_n
        and (new_created > old_created or (token ~= '' and new_created == old_created)))))
  end
  if newer then
    -- 4. Write all fields, 4,000 words at a time, because Lua's `unpack` fails for some 8,000 values.
    for first = 1, #row, 4000 do
      redis.call('HSET', key, unpack(row, first, math.min(first + 3999, #row)))
    end
    -- 5. Where a record alone replaces a row of fields, delete them: they would be read with its time.
    if leaves_out then
      left_out = left_out or cmsgpack.unpack(ARGV[#ARGV])
      for first = 1, #left_out, 4000 do
        redis.call('HDEL', key, unpack(left_out, first, math.min(first + 3999, #left_out)))
      end
    end
    -- 6. Turn a hash of more than 32 fields into a hash table. Redis searches its compact list from the start for each
    --    field: 119 fields of one hash cost 50 us there and 8 us in a table. One value that is too long for a list turns
    --    the hash into a table, and it stays a table when the value is deleted.
    if redis.call('HLEN', key) > 32 and redis.pcall('OBJECT', 'ENCODING', key) == 'listpack' then
      redis.call('HSET', key, '_', string.rep('_', 1025))
      redis.call('HDEL', key, '_')
    end
    -- 7. Renew the expiry of the key.
    if ARGV[1] ~= '0' then redis.call('EXPIRE', key, ARGV[1]) end
    stored = stored + 1
  end
end
return stored
