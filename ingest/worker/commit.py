"""The one script that makes a batch of a partition final.

Fence check, checkpoint, outbox, features, dead letters, counters and the log's position happen together or not at all; so whatever dies,
a message is counted once. An owner that lost its lease is told so and changes nothing.
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
if redis.call('GET', owner) ~= ARGV[1] then return redis.error_reply('FENCED') end
-- First, for it needs no memory: a full server refuses a script's first write only, so this one is not left half done.
redis.call('PEXPIRE', owner, ARGV[2])
local group, last_id, kept, maxlen, at = ARGV[3], ARGV[4], ARGV[5], ARGV[7], 8
local entries = redis.call('HINCRBY', state, 'entries', ARGV[6])
redis.call('HSET', state, 'last_id', last_id)
local function taken()
  local first = at + 1
  at = first + tonumber(ARGV[at])
  return first, at - 1
end
local first, last = taken()
for from = first, last, 4000 do redis.call('HSET', state, unpack(ARGV, from, math.min(from + 3999, last))) end
first, last = taken()
for i = first, last do redis.call('XADD', outbox, '*', 'rows', ARGV[i]) end
first, last = taken()
for i = first, last, 4 do
  redis.call('XADD', features, 'MAXLEN', '~', maxlen, '*', 'symbol', ARGV[i], 'event_timestamp', ARGV[i + 1],
    'created', ARGV[i + 2], 'values', ARGV[i + 3])
end
first, last = taken()
for i = first, last, 2 do redis.call('HINCRBY', counters, ARGV[i], ARGV[i + 1]) end
while at <= #ARGV do
  first, last = taken()
  redis.call('XADD', dead, '*', unpack(ARGV, first, last))
end
redis.call('XGROUP', 'SETID', events, group, last_id, 'ENTRIESREAD', entries)
redis.call('XTRIM', events, 'MINID', '~', kept)
return 1
"""
"""ARGV: token, lease, group, last id, id before which the log may go, entries taken, entries kept of features; then lists, each behind its
length: state, outbox, features, counts, and a list a dead letter."""


def add_commit(
    pipe: Any, partition: Partition, token: str, pending: Pending, state: dict[bytes, bytes], settings: Settings
) -> None:
    """Add to a pipeline the command that makes ``pending`` final and ``state`` the checkpoint's; its reply is for ``check``."""
    p = partition.number
    events = keys.events(p)
    arguments: list[Any] = [token, LEASE_MS, keys.GROUP, partition.last_id, _trim_to(partition, settings.log_history_s)]
    arguments += (pending.entries, settings.features_maxlen)
    lists: list[list[Any]] = [
        [x for pair in {**state, b"state_id": partition.state_id}.items() for x in pair],
        [rows.encode(batch.columns()) for batch in pending.batches.values() if len(batch)],
        rows.vectors(pending.batches[NORMALIZED.name].columns()),
        [x for pair in pending.counts.items() for x in pair],
        *(dead_letter(events, i, fields, r.reason, r.detail) for (i, fields), r in pending.dead),
    ]
    for part in lists:
        arguments += (len(part), *part)
    touched = (
        keys.owner(p),
        keys.checkpoint(p),
        keys.outbox(p),
        keys.features(p),
        events,
        keys.DEAD_LETTER,
        keys.counters(p),
    )
    pipe.eval(_COMMIT, len(touched), *touched, *arguments)


def _trim_to(partition: Partition, history_s: int) -> bytes:
    """The first entry that the log must keep: what the saved state lacks, and the history that was asked for."""
    newest_ms, _ = read.id_numbers(partition.last_id)
    since = b"%d-0" % max(newest_ms - history_s * 1000, 0)
    return partition.state_id if read.is_newer(since, partition.state_id) else since


def check(reply: Any, partition: int) -> None:
    """Look at the reply of a commit.

    Raises
    ------
    FencedError
        The lease was lost; nothing has changed.
    redis.RedisError
        What the server said.
    """
    if isinstance(reply, redis.ResponseError) and "FENCED" in str(reply):
        raise FencedError(f"partition {partition} was taken over")
    if isinstance(reply, Exception):
        raise reply
