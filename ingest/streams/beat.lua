-- Note a sign of life of a process. Return for how many milliseconds Redis has had signs of life without a pause; the living processes of the
-- role whose code is the same, and those of other code; the same two of those that wait to be let in; whether this process is in; and what
-- the number of partitions is raised to.
-- A pause means that Redis was away, has lost its newest writes, or that no process was alive.
-- KEYS: the role's members, the newest sign of life of all roles, those that wait, and what the number of partitions is raised to.
-- ARGV: the process, the milliseconds after which a silent one of the same code is dead, the milliseconds without a sign of life that are a
-- pause, the code (empty where the role has one for all), the milliseconds after which a silent one of other code is gone, and whether the
-- process enters also where there is other code (1).

local members, signs, waiting, goal = unpack(KEYS)
local me, code, enters = ARGV[1], ARGV[4], ARGV[6] == '1'
local ttl, pause, gone = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Since when is Redis well?
local seen = redis.call('HMGET', signs, 'last', 'since')
local last, since = tonumber(seen[1]), tonumber(seen[2])
if not last then -- the first sign of all; the uptime is negative if the clock was set back
  since = now - 1000 * string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%-?%d+)')
elseif now < last or now - last > pause then
  since = now
end
redis.call('HSET', signs, 'last', now, 'since', since)

-- Who is alive? One of other code may be starting again: it is there until it was silent for long, in which Redis was well.
local function living(key)
  local fellows, others = {}, {}
  local found = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #found, 2 do
    local name, at = found[i], tonumber(found[i + 1])
    local is_fellow = (string.match(name, '%+(%x+)@') or '') == code
    local is_gone = at > now + ttl -- the server's clock was set back
    if is_fellow then is_gone = is_gone or now - at >= ttl else is_gone = is_gone or now - math.max(at, since) >= gone end
    if is_gone then
      redis.call('ZREM', key, name)
    elseif is_fellow then
      fellows[#fellows + 1] = name
    else
      others[#others + 1] = name
    end
  end
  return fellows, others
end
local fellows, others = living(members)
local is_in = enters or #others == 0
for _, name in ipairs(fellows) do is_in = is_in or name == me end

-- Be a member, or wait.
local waiting_fellows, waiting_others = {}, {}
if code ~= '' then
  redis.call('ZREM', waiting, me)
  waiting_fellows, waiting_others = living(waiting)
end
redis.call('ZADD', is_in and members or waiting, now, me)
local mine = is_in and fellows or waiting_fellows
local is_new = true
for _, name in ipairs(mine) do is_new = is_new and name ~= me end
if is_new then mine[#mine + 1] = me end
return {math.max(now - since, 0), fellows, others, waiting_fellows, waiting_others, is_in and 1 or 0, redis.call('GET', goal) or 0}
