"""One look at what the pipeline keeps in Redis: counters, streams, leases, memory. The exporter and ``status`` show it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from ingest.streams import dead_letters, keys, membership
from ingest.streams.backlog import Stream, add_up, counters_by_place, number, streams, untaped_ms
from ingest.streams.cluster import infos
from ingest.worker.missing import HELD_UNTIL

CONSISTENCY = "tfs:consistency"  # a hash: values by outcome, and `time_ms`, of the last `check consistency`


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of a partition.

    Attributes
    ----------
    token : str or None
        The fencing token of the owner; None where the partition has no owner.
    left_ms : int or None
        How long the lease still holds.
    given : int
        Leases of the partition that were given so far.
    """

    token: str | None
    left_ms: int | None
    given: int


@dataclass(frozen=True, slots=True)
class RedisState:
    """Redis at one moment, ``now_ms`` by its own clock.

    Attributes
    ----------
    counters : mapping
        By partition, and of the edge; ``totals`` are their sums.
    silences : mapping
        By role and process: ms since its last sign of life.
    symbols : sequence
        By partition: the symbols of its checkpoint, in order of name.
    consistency : mapping
        Of the last ``check consistency``: values by outcome, and ``time_ms``; empty before the first.
    dead_letters : int
        Letters that are kept.
    memory_used, memory_limit : int
        In bytes; on a cluster of the master that is fullest.
    untaped_ms : sequence of int
        By partition: how long its oldest entry that is not on the tape has waited; empty without a tape.
    missing : mapping
        By symbol (``missing.OTHERS`` stands for those past the bound): what is known of its missing trades, by the names of ``missing``.
    silent : mapping
        By symbol and channel, the longest first: for how many milliseconds a channel of a live feed has been silent.
    """

    now_ms: int
    counters: Mapping[int | str, Mapping[str, str]]
    totals: Mapping[str, int]
    streams: Sequence[Stream]
    leases: Sequence[Lease]
    silences: Mapping[str, Mapping[str, int]]
    symbols: Sequence[Sequence[str]]
    consistency: Mapping[str, int]
    dead_letters: int
    memory_used: int
    memory_limit: int
    untaped_ms: Sequence[int] = ()
    missing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    silent: Mapping[str, int] = field(default_factory=dict)

    def missed(self, what: str) -> int:
        """Return a count of ``missing`` over all symbols."""
        return sum(facts.get(what, 0) for facts in self.missing.values())

    @property
    def held(self) -> dict[str, int]:
        """For how many milliseconds at most a symbol waits, by symbol, while its feed asks for missing trades."""
        left = {name: facts.get(HELD_UNTIL, 0) - self.now_ms for name, facts in sorted(self.missing.items())}
        return {name: ms for name, ms in left.items() if ms > 0}

    def total(self, name: str) -> int:
        """Return a count over all partitions and the edge."""
        return self.totals.get(name, 0)

    @property
    def all_symbols(self) -> list[str]:
        """The symbols of all partitions, in order of name."""
        return sorted(name for names in self.symbols for name in names)


def look(client: redis.Redis, partitions: int, *, tape: bool = False) -> RedisState:
    """Read everything once; eight round trips, and two more with a ``tape``, whatever the number of partitions."""
    pipe: Any = client.pipeline(transaction=False)
    pipe.time()
    pipe.hgetall(CONSISTENCY)
    pipe.hgetall(keys.SILENT_CHANNELS)
    for p in range(partitions):
        pipe.get(keys.owner(p))
        pipe.pttl(keys.owner(p))
        pipe.get(keys.fence(p))
        pipe.hgetall(keys.holes(p))
    (seconds, micros), checked, silent, *about = pipe.execute()
    counters = counters_by_place(client, partitions)
    memory = max(infos(client, "memory"), key=lambda about: about["used_memory"] / (about["maxmemory"] or 1))
    now_ms = seconds * 1000 + micros // 1000
    untaped = untaped_ms(client, partitions) if tape else []
    roles = (*membership.ROLES, membership.SCORER, *((membership.TAPE,) if tape else ()))
    return RedisState(
        now_ms=now_ms,
        counters=counters,
        totals=add_up(counters.values()),
        streams=streams(client, partitions),
        leases=[_lease(*about[4 * p : 4 * p + 3]) for p in range(partitions)],
        silences=membership.silent_ms(client, roles),
        symbols=symbols_by_partition(client, partitions),
        consistency={name.decode(): number(value.decode()) for name, value in checked.items()},
        dead_letters=dead_letters.kept(client, partitions),
        memory_used=memory["used_memory"],
        memory_limit=memory["maxmemory"],
        missing=_missing(about[3::4]),
        silent=_silent(silent, now_ms),
        untaped_ms=[0 if at_ms is None else max(0, now_ms - at_ms) for at_ms in untaped],
    )


def _lease(token: bytes | None, left_ms: int, given: bytes | None) -> Lease:
    held = token is not None and left_ms > 0
    text = (token or b"").decode(errors="replace")
    return Lease(text if held else None, left_ms if held else None, number((given or b"").decode()))


def _missing(hashes: Iterable[Mapping[bytes, bytes]]) -> dict[str, dict[str, int]]:
    found: defaultdict[str, dict[str, int]] = defaultdict(Counter)
    for facts in hashes:
        for name, value in facts.items():
            symbol, _, what = name.decode(errors="replace").partition(" ")
            found[symbol][what] = found[symbol].get(what, 0) + number(value.decode())
    return dict(found)


def _silent(since: Mapping[bytes, bytes], now_ms: int) -> dict[str, int]:
    ages = {name.decode(errors="replace"): max(0, now_ms - number(at.decode())) for name, at in since.items()}
    return dict(sorted(ages.items(), key=lambda one: (-one[1], one[0])))


def symbols_by_partition(client: redis.Redis, partitions: int) -> list[list[str]]:
    """Return the symbols that each partition's checkpoint holds, in order of name."""
    pipe: Any = client.pipeline(transaction=False)
    for p in range(partitions):
        pipe.hkeys(keys.checkpoint(p))
    return [sorted({name.decode().partition(" ")[0] for name in names if b" " in name}) for names in pipe.execute()]


def symbols(client: redis.Redis, partitions: int) -> list[str]:
    """Return the symbols of all partitions, in order of name."""
    return sorted(name for names in symbols_by_partition(client, partitions) for name in names)


def spread(every: Sequence[str], most: int) -> list[str]:
    """Return at most ``most`` of them, evenly spaced: the same ones at each look."""
    return [every[i * len(every) // most] for i in range(most)] if len(every) > most else list(every)
