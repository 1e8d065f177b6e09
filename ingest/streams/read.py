"""Reading Redis Streams: by position, or as a consumer group whose one consumer is ``owner``.

Reading by position changes nothing on the server, so a process that wakes up after somebody else took its place does no harm by it:
a group would count what it reads as given, and nobody else would be given it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import redis

from ingest.streams.keys import CONSUMER, GROUP

Fields = dict[bytes, bytes]
Read = tuple[str, bytes, Fields]
"""Stream, entry id, fields."""


START = b"0-0"
"""The position before every entry."""
FIRST = 16
"""Entries to ask a stream for at first: a process that was ended by an answer of large ones is not ended by it again."""
PART_BYTES = 8 << 20
"""Of entries that are handled, and written elsewhere, at once: the words of a script lie in the server's memory more than once."""
E = TypeVar("E", bound=tuple[Any, ...])


def read(client: redis.Redis, positions: Mapping[str, bytes], count: int, block_ms: int) -> list[Read]:
    """Entries behind each stream's position, at most ``count`` a stream; waits up to ``block_ms`` for the first."""
    reply: Any = client.xread(positions, count=count, block=block_ms)  # type: ignore[arg-type]
    return [(name.decode(), entry_id, fields) for name, entries in reply or [] for entry_id, fields in entries]


def between(client: redis.Redis, stream: str, after: bytes, last: bytes, count: int) -> list[tuple[bytes, Fields]]:
    """The first ``count`` entries behind ``after``, up to and with ``last``."""
    entries: Any = client.xrange(stream, b"(" + after, last, count=count)
    return list(entries)


def parts(entries: Sequence[E]) -> list[Sequence[E]]:
    """Entries, whose fields come last, as they are, or cut where they are larger than ``PART_BYTES`` together."""
    if sum(map(len, chain.from_iterable(entry[-1].values() for entry in entries))) <= PART_BYTES:
        return [entries]
    found: list[list[E]] = []
    room = 0
    for entry in entries:
        size = sum(map(len, entry[-1].values()))
        if not found or size > room:
            found.append([])
            room = PART_BYTES
        found[-1].append(entry)
        room -= size
    return list(found)


def next_count(count: int, n_parts: int, most: int) -> int:
    """How many entries to ask for after ``count``, whose answer came in so many parts: fewer where they were large, else more.

    >>> next_count(16, 1, 1000), next_count(1000, 1, 1000), next_count(16, 2, 1000), next_count(2, 2, 1000)
    (32, 1000, 4, 1)
    """
    return min(2 * count, most) if n_parts == 1 else max(count // 4, 1)


def is_newer(a: bytes, b: bytes) -> bool:
    """Whether entry id ``a`` comes after ``b``.

    >>> is_newer(b"10-0", b"9-5"), is_newer(b"9-5", b"9-5")
    (True, False)
    """
    return number(a) > number(b)


def number(entry_id: bytes) -> tuple[int, int]:
    """An entry id as its two numbers, which compare as the ids do."""
    ms, _, n = entry_id.partition(b"-")
    return int(ms), int(n)


def join(client: redis.Redis, streams: Sequence[str]) -> None:
    """Make the group on each stream, from its first entry; what exists stays."""
    for stream in streams:
        try:
            client.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


def unacknowledged(client: redis.Redis, stream: str, count: int) -> Iterator[list[Read]]:
    """Entries that were given to an owner before and not acknowledged, oldest first.

    An entry that was trimmed away meanwhile has no fields left and is left out.
    """
    after: bytes | str = "0"
    while True:
        reply: Any = client.xreadgroup(GROUP, CONSUMER, {stream: after}, count=count)
        entries = reply[0][1] if reply else []
        if not entries:
            return
        after = entries[-1][0]
        yield [(stream, entry_id, fields) for entry_id, fields in entries if fields]


def new(client: redis.Redis, streams: Sequence[str], count: int, block_ms: int) -> list[Read]:
    """Entries that nobody has been given, at most ``count`` a stream; waits up to ``block_ms`` for the first."""
    reply: Any = client.xreadgroup(GROUP, CONSUMER, dict.fromkeys(streams, ">"), count=count, block=block_ms)
    return [(name.decode(), entry_id, fields) for name, entries in reply or [] for entry_id, fields in entries]


def order(entry: Read) -> tuple[int, int]:
    """Sort key: the entry's id."""
    return number(entry[1])
