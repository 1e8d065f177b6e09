"""The one script that commits a batch of a partition.

All steps happen, or none does; so a message is counted once, whichever process dies.

1. Compare the fencing token. A worker that has lost its lease is told so and changes nothing.
2. Renew the lease. A full server refuses the first write of a script only, so the first write is one that needs no memory.
3. Save how far the log is processed, and the state.
4. Append the rows to the outbox, for the offline store.
5. Append the normalised rows to ``features``, for the signal service.
6. Add to the counters.
7. Append the dead letters.
8. Move the consumer group, which tells how many entries wait.
9. Trim the log: it keeps what the saved state lacks, and the history that was asked for.
"""

from __future__ import annotations

from typing import Any

import redis

from ingest.settings import Settings
from ingest.streams import keys, read
from ingest.streams.dead_letters import dead_letter
from ingest.streams.membership import LEASE_MS, FencedError
from ingest.worker import rows
from ingest.worker.partition import Partition, Pending
from transforms.catalog import NORMALIZED

_COMMIT = """
local owner, state, outbox, features, events, dead, counters = unpack(KEYS)
local token, lease_ms, group, last_id, kept_from, n_entries, maxlen = unpack(ARGV, 1, 7)
local at = 8
local function next_list()
  local first = at + 1
  at = first + tonumber(ARGV[at])
  return first, at - 1
end
-- 1. fence
if redis.call('GET', owner) ~= token then return redis.error_reply('FENCED') end
-- 2. lease
redis.call('PEXPIRE', owner, lease_ms)
-- 3. position and state; 4,000 arguments at a time, because Lua's stack is small
local entries = redis.call('HINCRBY', state, 'entries', n_entries)
redis.call('HSET', state, 'last_id', last_id)
local first, last = next_list()
for from = first, last, 4000 do redis.call('HSET', state, unpack(ARGV, from, math.min(from + 3999, last))) end
-- 4. outbox
first, last = next_list()
for i = first, last do redis.call('XADD', outbox, '*', 'rows', ARGV[i]) end
-- 5. features
first, last = next_list()
for i = first, last, 4 do
  redis.call('XADD', features, 'MAXLEN', '~', maxlen, '*', 'symbol', ARGV[i], 'event_timestamp', ARGV[i + 1],
    'created', ARGV[i + 2], 'values', ARGV[i + 3])
end
-- 6. counters
first, last = next_list()
for i = first, last, 2 do redis.call('HINCRBY', counters, ARGV[i], ARGV[i + 1]) end
-- 7. dead letters, one list each
while at <= #ARGV do
  first, last = next_list()
  redis.call('XADD', dead, '*', unpack(ARGV, first, last))
end
-- 8. group
redis.call('XGROUP', 'SETID', events, group, last_id, 'ENTRIESREAD', entries)
-- 9. log
redis.call('XTRIM', events, 'MINID', '~', kept_from)
return 1
"""
"""ARGV: seven values, then the lists of steps 3 to 7, each behind its length."""


def add_commit(
    pipe: Any, partition: Partition, token: str, pending: Pending, state: dict[bytes, bytes], settings: Settings
) -> None:
    """Add to a pipeline the commit of ``pending`` and, where there is one, of the saved ``state``; its reply is for ``check``."""
    p = partition.number
    touched = (
        keys.owner(p),
        keys.checkpoint(p),
        keys.outbox(p),
        keys.features(p),
        keys.events(p),
        keys.DEAD_LETTER,
        keys.counters(p),
    )
    kept_from = _kept_from(partition, settings.log_history_s)
    values = (token, LEASE_MS, keys.GROUP, partition.last_id, kept_from, pending.entries, settings.features_maxlen)
    lists: list[list[Any]] = [
        [x for pair in {**state, b"state_id": partition.state_id}.items() for x in pair],
        [rows.encode(batch.columns()) for batch in pending.batches.values() if len(batch)],
        rows.vectors(pending.batches[NORMALIZED.name].columns()),
        [x for pair in pending.counts.items() for x in pair],
        *(dead_letter(keys.events(p), i, fields, r.reason, r.detail) for (i, fields), r in pending.dead),
    ]
    behind_lengths = (x for part in lists for x in (len(part), *part))
    pipe.eval(_COMMIT, len(touched), *touched, *values, *behind_lengths)


def _kept_from(partition: Partition, history_s: int) -> bytes:
    """Return the first entry that the log must keep."""
    newest_ms, _ = read.id_numbers(partition.last_id)
    since = b"%d-0" % max(newest_ms - history_s * 1000, 0)
    return partition.state_id if read.is_newer(since, partition.state_id) else since


def check(reply: Any, partition: int) -> None:
    """Raise what the reply of a commit says: ``FencedError`` where the lease was lost and nothing has changed, else the server's error."""
    if isinstance(reply, redis.ResponseError) and "FENCED" in str(reply):
        raise FencedError(f"another worker has taken over partition {partition}")
    if isinstance(reply, Exception):
        raise reply
