"""What a partition gives to the new ones that it is divided into: for each symbol that moves, all that the next owner goes on with.

The log of the partition is closed and worked to its end, and its state is saved there, so nothing of this changes meanwhile. Each step may
be done again, also by the next owner after one that died on the way. A new partition takes no step any more when it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import redis

from feature_repo.stores.scripts import read_script
from ingest.streams import keys, replicas
from ingest.streams.keys import partition_of
from ingest.streams.membership import NO_KEY
from ingest.streams.read import START
from ingest.worker import idle, missing
from ingest.worker.opening import read_checkpoint

AT_ONCE = 200  # fields or keys to write at once
_POSITIONS = frozenset({b"last_id", b"state_id", b"entries", b"began"})
_FILL = read_script(__file__, "fill_partition.lua")
_BEGIN = read_script(__file__, "begin_partition.lua")


class Filled(NamedTuple):
    """A value of a key of a new partition, which is kept for so many milliseconds, or for good (0); or fields of a hash, or no key."""

    p: int
    key: str
    words: list[Any]
    how: int | str = ""


def divide(client: redis.Redis, p: int, before: int, now: int, keep_lease: Callable[[], None]) -> None:
    """Make the new partitions of ``p``, where there were ``before`` partitions and will be ``now``.

    Parameters
    ----------
    keep_lease : callable
        Called again and again, as a large state takes longer than a lease.
    """
    saved = read_checkpoint(client, p, keep_lease)
    new = range(p + before, now, before)
    pipe: Any = client.pipeline(transaction=False)
    for one in _parts(client, p, now, new, saved, keep_lease):
        pipe.eval(_FILL, 2, keys.number(one.p), one.key, now, one.how, *one.words)
        if len(pipe) >= AT_ONCE:
            pipe.execute()
        keep_lease()
    for c in new:
        pipe.eval(
            _BEGIN,
            3,
            keys.number(c),
            keys.events(c),
            keys.checkpoint(c),
            now,
            saved.get(b"state_id", START),
            keys.GROUP,
            p,
        )
    pipe.execute()
    replicas.confirm(client, [*new, p])  # else a failover of one server may lose what the others have


def _parts(
    client: redis.Redis,
    p: int,
    now: int,
    new: Collection[int],
    saved: Mapping[bytes, bytes],
    keep_lease: Callable[[], None],
) -> Iterator[Filled]:
    for c in new:
        # An owner that died may have begun, on a Redis that came back older since.
        yield from (Filled(c, key(c), [], "none") for key in (keys.checkpoint, keys.idle, keys.holes))
        yield from _filled(c, keys.checkpoint(c), _checkpoint(saved, c, now))
    yield from _by_symbol(client.hscan_iter(keys.idle(p), count=AT_ONCE), new, now, keys.idle)
    yield from _by_symbol(client.hscan_iter(keys.holes(p), count=AT_ONCE), new, now, keys.holes)
    retried: Any = list(client.hscan_iter(keys.retried(p), count=AT_ONCE))
    for c in new:  # a letter names no symbol
        yield from _filled(c, keys.retried(c), retried)
    for feed in _names(client, keys.last_trades(p, ""), keep_lease):
        of_feed = client.hscan_iter(keys.last_trades(p, feed), count=AT_ONCE)
        yield from _by_symbol(of_feed, new, now, lambda c, feed=feed: keys.last_trades(c, feed))  # type: ignore[misc]
    sources = _names(client, keys.moved(p, ""), keep_lease)
    for first in range(0, len(sources), AT_ONCE):
        some = sources[first : first + AT_ONCE]
        pipe: Any = client.pipeline(transaction=False)
        for source in some:
            pipe.get(keys.moved(p, source))
            pipe.pttl(keys.moved(p, source))
        found = pipe.execute()
        for source, marker, left_ms in zip(some, found[::2], found[1::2], strict=True):
            if marker is not None and left_ms not in (0, NO_KEY):  # else it has just expired
                yield from (Filled(c, keys.moved(c, source), [marker], max(left_ms, 0)) for c in new)


def _checkpoint(saved: Mapping[bytes, bytes], c: int, now: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the fields of a checkpoint that a new partition has: those of its symbols, and those that name no symbol."""
    for field, value in saved.items():
        name, space, _ = field.partition(b" ")
        if field in (idle.FIELD, missing.FIELD):
            names = msgspec.msgpack.decode(value)
            yield field, msgspec.msgpack.encode({n: one for n, one in names.items() if partition_of(n, now) == c})
        elif partition_of(name.decode(), now) == c if space else field not in _POSITIONS:
            yield field, value


def _by_symbol(
    found: Iterable[tuple[bytes, bytes]], new: Collection[int], now: int, key: Callable[[int], str]
) -> Iterator[Filled]:
    """Yield the fields of a hash that begin with the name of a symbol, in the new partitions of the symbols."""
    of_new: dict[int, list[tuple[bytes, bytes]]] = {}
    for field, value in found:
        name = field.partition(b" ")[0].decode()
        c = partition_of(name, now)
        if c in new and name != missing.OTHERS:
            of_new.setdefault(c, []).append((field, value))
    for c, fields in of_new.items():
        yield from _filled(c, key(c), fields)


def _filled(c: int, key: str, fields: Iterable[tuple[bytes, bytes]]) -> Iterator[Filled]:
    words: list[Any] = []
    for pair in fields:
        words += pair
        if len(words) >= 2 * AT_ONCE:
            yield Filled(c, key, words)
            words = []
    if words:
        yield Filled(c, key, words)


def _names(client: redis.Redis, prefix: str, keep_lease: Callable[[], None]) -> list[str]:
    """Return what stands behind a prefix in the names of keys."""
    names = set()
    found: Any = client.scan_iter(match=f"{prefix}*", count=1000)
    for name in found:
        names.add(name.decode().removeprefix(prefix))
        keep_lease()
    return sorted(names)
