"""One look at what the pipeline keeps in Redis: counters, streams, leases, memory. The exporter and ``status`` show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from ingest.streams import keys
from ingest.streams.backlog import Stream, streams
from ingest.streams.membership import LEASE_MS

ROLES = ("worker", "router", "writer")
"""Roles whose processes give signs of life."""
SCORER = "scorer"
SCORING_MS = 60_000
"""A scorer that has not asked for posts for so long, while it scored others, counts as away."""


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
    places: list[int | str] = [*range(partitions), keys.EDGE]
    pipe: Any = client.pipeline(transaction=False)
    pipe.time()
    pipe.info("memory")
    pipe.xlen(keys.DEAD_LETTER)
    for place in places:
        pipe.hgetall(keys.counters(place))
    for role in ROLES:
        pipe.zrange(keys.members(role), 0, -1, withscores=True)
    for p in range(partitions):
        pipe.get(keys.owner(p))
        pipe.pttl(keys.owner(p))
        pipe.get(keys.fence(p))
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


def symbols_by_partition(client: redis.Redis, partitions: int) -> list[list[str]]:
    """The symbols that each partition's checkpoint holds, in order of name."""
    pipe: Any = client.pipeline(transaction=False)
    for p in range(partitions):
        pipe.hkeys(keys.checkpoint(p))
    return [sorted({name.decode().partition(" ")[0] for name in names if b" " in name}) for names in pipe.execute()]


def symbols(client: redis.Redis, partitions: int) -> list[str]:
    """All of them, in order of name."""
    return sorted(name for names in symbols_by_partition(client, partitions) for name in names)


def spread(every: Sequence[str], most: int) -> list[str]:
    """At most so many, evenly spaced: the same ones at each look."""
    return [every[i * len(every) // most] for i in range(most)] if len(every) > most else list(every)
