"""One look at what the pipeline keeps in Redis: counters, streams, leases, memory. The exporter and ``status`` show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from ingest import log
from ingest.membership import LEASE_MS
from ingest.messages import PLAIN_STREAM

EVENTS, OUTBOX = "events", "outbox"
ROLES = ("worker", "router", "writer")
"""Roles whose processes give signs of life."""
SCORER = "scorer"
SCORING_MS = 60_000
"""A scorer that has not asked for posts for so long, while it scored others, counts as away."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream and its group.

    Attributes
    ----------
    name, partition:
        ``events`` and ``outbox`` are one a partition; a plain stream has the partition None.
    length, lag, pending:
        Entries held, not taken yet, and given but not acknowledged. Where what is done is deleted, all that is held is lag.
    oldest_ms:
        When the oldest entry that is not done arrived; None where all are.
    asked_ms:
        How long ago the scorer last asked for entries; None for other streams, and where it never did.
    """

    name: str
    partition: int | None
    length: int = 0
    lag: int = 0
    pending: int = 0
    oldest_ms: int | None = None
    asked_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """Who owns a partition: the fencing token and how long the lease still holds; None where nobody does. ``given`` counts leases."""

    token: str | None
    left_ms: int | None
    given: int


@dataclass(frozen=True, slots=True)
class RedisState:
    """Redis at one moment; ``now_ms`` is its own clock's, ``processes`` are those alive, by role."""

    now_ms: int
    counters: Mapping[int | str, Mapping[str, str]]
    streams: Sequence[Stream]
    leases: Sequence[Lease]
    processes: Mapping[str, int]
    dead_letters: int
    memory_used: int
    memory_limit: int

    def total(self, name: str) -> int:
        """A count over all partitions and the edge."""
        return sum(number(counts.get(name)) for counts in self.counters.values())


def number(text: str | None) -> int:
    """A count; 0 where there is none or it is no number.

    >>> number("12"), number(None), number("x")
    (12, 0, 0)
    """
    try:
        return int(text or 0)
    except ValueError:
        return 0


def read(client: redis.Redis, partitions: int) -> RedisState:
    """Look once; three round trips, whatever the number of partitions.

    Raises
    ------
    redis.RedisError
        The server is away or refuses.
    """
    places: list[int | str] = [*range(partitions), log.EDGE]
    pipe: Any = client.pipeline(transaction=False)
    pipe.time()
    pipe.info("memory")
    pipe.xlen(log.DEAD_LETTER)
    for place in places:
        pipe.hgetall(log.counters(place))
    for role in ROLES:
        pipe.zrange(log.members(role), 0, -1, withscores=True)
    for p in range(partitions):
        pipe.get(log.owner(p))
        pipe.pttl(log.owner(p))
        pipe.get(log.fence(p))
    (seconds, micros), memory, dead_letters, *rest = pipe.execute()
    counters = {
        place: {name.decode(): value.decode(errors="replace") for name, value in counts.items()}
        for place, counts in zip(places, rest[: len(places)], strict=True)
    }
    now_ms = seconds * 1000 + micros // 1000
    members = dict(zip(ROLES, rest[len(places) :], strict=False))
    about = rest[len(places) + len(ROLES) :]
    leases = [_lease(*about[3 * p : 3 * p + 3]) for p in range(partitions)]
    every = streams(client, partitions)
    processes = {role: sum(now_ms - at <= LEASE_MS for _, at in alive) for role, alive in members.items()}
    processes[SCORER] = sum(s.asked_ms is not None and s.asked_ms <= SCORING_MS for s in every)
    return RedisState(
        now_ms,
        counters,
        every,
        leases,
        processes,
        dead_letters,
        memory["used_memory"],
        memory["maxmemory"],
    )


def _lease(token: bytes | None, left_ms: int, given: bytes | None) -> Lease:
    held = token is not None and left_ms > 0
    text = (token or b"").decode(errors="replace")
    return Lease(text if held else None, left_ms if held else None, number((given or b"").decode()))


def streams(client: redis.Redis, partitions: int) -> list[Stream]:
    """How every stream of the pipeline stands; one that does not exist yet is empty."""
    wanted: list[tuple[str, int | None, str]] = [(name, None, name) for name in (*PLAIN_STREAM, log.SOCIAL)]
    for p in range(partitions):
        wanted += [(EVENTS, p, log.events(p)), (OUTBOX, p, log.outbox(p))]
    keys = [key for _, _, key in wanted]
    groups = _ask(client, [("XINFO GROUPS", key) for key in keys])
    group = [_own(found) for found in groups]
    more = _ask(client, [call for key, found in zip(keys, group, strict=True) for call in _calls(key, found)])
    return [_stream(*wanted[i][:2], group[i], *more[4 * i : 4 * i + 4]) for i in range(len(wanted))]


def _calls(key: str, group: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    after = group.get("last-delivered-id", b"0-0")
    return [
        ("XLEN", key),
        ("XINFO CONSUMERS", key, log.GROUP),
        ("XPENDING", key, log.GROUP),
        ("XRANGE", key, b"(" + after, "+", "COUNT", 1),
    ]


def _stream(
    name: str, partition: int | None, group: Mapping[str, Any], length: int, consumers: Any, pending: Any, after: Any
) -> Stream:
    held = int(group.get("pending", 0))
    lag = group.get("lag", length)
    if lag is None:  # the server cannot tell once entries in between were deleted: those after the last given
        lag = max(length - held, 1) if after else 0
    first = pending["min"] if held and pending else None
    oldest = first or (after[0][0] if after else None)
    asked = [c["idle"] for c in consumers or [] if c["name"] == log.CONSUMER.encode()]
    return Stream(
        name,
        partition,
        length,
        int(lag),
        held,
        None if oldest is None else stream_ms(oldest),
        asked[0] if asked else None,
    )


def stream_ms(entry_id: bytes) -> int:
    """When an entry arrived.

    >>> stream_ms(b"1700000000000-3")
    1700000000000
    """
    return int(entry_id.partition(b"-")[0])


def _own(groups: Any) -> Mapping[str, Any]:
    return next((g for g in groups or [] if g["name"] == log.GROUP.encode()), {})


def _ask(client: redis.Redis, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The replies in order; None where the stream or its group is not there yet."""
    pipe: Any = client.pipeline(transaction=False)
    for call in calls:
        pipe.execute_command(*call)
    replies = pipe.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, redis.RedisError) and not str(reply).startswith(("no such key", "NOGROUP")):
            raise reply
    return [None if isinstance(reply, redis.RedisError) else reply for reply in replies]


def symbols_by_partition(client: redis.Redis, partitions: int) -> list[list[str]]:
    """The symbols that each partition's checkpoint holds, in order of name."""
    pipe: Any = client.pipeline(transaction=False)
    for p in range(partitions):
        pipe.hkeys(log.checkpoint(p))
    return [sorted({name.decode().partition(" ")[0] for name in names if b" " in name}) for names in pipe.execute()]


def symbols(client: redis.Redis, partitions: int) -> list[str]:
    """All of them, in order of name."""
    return sorted(name for names in symbols_by_partition(client, partitions) for name in names)


def spread(every: Sequence[str], most: int) -> list[str]:
    """At most so many, evenly spaced: the same ones at each look."""
    return [every[i * len(every) // most] for i in range(most)] if len(every) > most else list(every)
