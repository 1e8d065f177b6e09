"""The one script that makes a batch of a partition final, and the lease that says who may.

Fence check, checkpoint, outbox, features, dead letters, counters and acknowledgement happen together or not at all; so whatever dies,
a message is counted once. An owner that lost its lease is told so and changes nothing.
"""

from __future__ import annotations

from typing import Any

import redis

from ingest import log, rows
from ingest.partition import Pending
from transforms.catalog import NORMALIZED

LEASE_MS = 2000

_COMMIT = """
local owner, state, outbox, features, events, dead, counters = unpack(KEYS)
if redis.call('GET', owner) ~= ARGV[1] then return redis.error_reply('FENCED') end
redis.call('PEXPIRE', owner, ARGV[2])
local group, last_id, maxlen, at = ARGV[3], ARGV[4], ARGV[5], 6
local function taken()
  local first = at + 1
  at = first + tonumber(ARGV[at])
  return first, at - 1
end
local function chunks(call)
  local first, last = taken()
  for from = first, last, 4000 do call(unpack(ARGV, from, math.min(from + 3999, last))) end
end
chunks(function(...) redis.call('HSET', state, ...) end)
local first, last = taken()
for i = first, last do redis.call('XADD', outbox, '*', 'rows', ARGV[i]) end
first, last = taken()
for i = first, last, 4 do
  redis.call('XADD', features, 'MAXLEN', '~', maxlen, '*', 'symbol', ARGV[i], 'event_timestamp', ARGV[i + 1],
    'created', ARGV[i + 2], 'values', ARGV[i + 3])
end
first, last = taken()
for i = first, last, 2 do redis.call('HINCRBY', counters, ARGV[i], ARGV[i + 1]) end
chunks(function(...) redis.call('XACK', events, group, ...) end)
while at <= #ARGV do
  first, last = taken()
  redis.call('XADD', dead, '*', unpack(ARGV, first, last))
end
redis.call('XTRIM', events, 'MINID', '~', last_id)
return 1
"""
"""ARGV: token, lease, group, last id, entries kept of features; then lists, each behind its length: state, outbox, features, counts,
acknowledged, and a list a dead letter."""

_ACQUIRE = """
if redis.call('GET', KEYS[1]) then return false end
local token = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token, 'PX', ARGV[1])
return token
"""

_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class FencedError(RuntimeError):
    """Another process owns the partition now; what this one had in hand is its business no longer."""


def acquire(client: redis.Redis, partition: int) -> int | None:
    """Take the lease of a free partition: its fencing token, or None where somebody holds it."""
    token: Any = client.eval(_ACQUIRE, 2, log.owner(partition), log.fence(partition), LEASE_MS)
    return None if token is None else int(token)


def renew(client: redis.Redis, partition: int, token: int) -> None:
    """Keep the lease for another ``LEASE_MS``.

    Raises
    ------
    FencedError
        It was lost.
    """
    if not client.eval(_RENEW, 1, log.owner(partition), str(token), LEASE_MS):
        raise FencedError(f"partition {partition} was taken over")


def release(client: redis.Redis, partition: int, token: int) -> None:
    """Give the lease back, if it is still held."""
    client.eval(_RELEASE, 1, log.owner(partition), str(token))


def commit(
    client: redis.Redis,
    partition: int,
    token: int,
    pending: Pending,
    changed: dict[bytes, bytes],
    features_maxlen: int,
) -> None:
    """Make ``pending`` final, and ``changed`` the checkpoint; ``features`` keeps about ``features_maxlen`` entries.

    Raises
    ------
    FencedError
        The lease was lost; nothing has changed.
    """
    events = log.events(partition)
    arguments: list[Any] = [str(token), LEASE_MS, log.GROUP, changed[b"last_id"], features_maxlen]
    lists: list[list[Any]] = [
        [x for pair in changed.items() for x in pair],
        [rows.encode(batch.columns()) for batch in pending.batches.values() if len(batch)],
        rows.vectors(pending.batches[NORMALIZED.name].columns()),
        [x for pair in pending.counts.items() for x in pair],
        pending.acknowledged,
        *(log.dead_letter(events, i, fields, r.reason, r.detail) for (i, fields), r in pending.dead),
    ]
    for part in lists:
        arguments += (len(part), *part)
    keys = (
        log.owner(partition),
        log.checkpoint(partition),
        log.outbox(partition),
        log.features(partition),
        events,
        log.DEAD_LETTER,
        log.counters(partition),
    )
    try:
        client.eval(_COMMIT, len(keys), *keys, *arguments)
    except redis.ResponseError as error:
        if "FENCED" in str(error):
            raise FencedError(f"partition {partition} was taken over") from None
        raise
