"""Reading Redis Streams by position, or as the one consumer (``owner``) of the group ``tfs``.

Reading by position changes nothing on the server. So a process that wakes up after another took its place does no harm: with a group, the
entries that it reads would count as given, and the new owner would not get them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, TypeVar

import redis

from feature_repo.stores.scripts import read_script
from ingest.streams.keys import CONSUMER, GROUP

Fields = dict[bytes, bytes]
Entry = tuple[str, bytes, Fields]  # stream, entry id, fields
START = b"0-0"  # the position before every entry
FIRST = 16  # entries to ask a stream for at first; few, because one huge reply must not kill the process twice
PART_BYTES = 8 << 20  # bytes of entries to handle at once: the server holds the arguments of a script more than once
_MOVED_UNTIL = read_script(__file__, "moved_until.lua")
E = TypeVar("E", bound=tuple[Any, ...])


def entries_after(client: redis.Redis, positions: Mapping[str, bytes], count: int, block_ms: int | None) -> list[Entry]:
    """Return entries behind each stream's position, at most ``count`` a stream; wait up to ``block_ms`` for the first, or not at all."""
    return _entries(client.xread(positions, count=count, block=block_ms))  # type: ignore[arg-type]


def in_order(entries: Sequence[Entry], count: int, most: int, until_ms: int | None = None) -> list[Entry]:
    """Return the entries of several streams, read together with ``count``, in the order of their ids, as far as that order is known.

    A stream that gave ``count`` entries may hold more. What the others gave in the millisecond of its last one, or later, must wait for
    those: if it went first, a slow stream of trades would overtake a fast stream of books after each pause, and the books would be late.

    Return nothing where all entries are of one millisecond, and a read with a larger count, up to ``most``, may tell more. On several
    servers return only entries from before ``until_ms``, when each of them had appended all that it has of an earlier time.

    >>> books = [("books", b"%d-0" % ms, {}) for ms in (1, 2)]
    >>> trades = [("trades", b"%d-0" % ms, {}) for ms in (1, 9)]
    >>> [(name, entry_id) for name, entry_id, _ in in_order(books + trades[:1], 3, 9)]
    [('books', b'1-0'), ('trades', b'1-0'), ('books', b'2-0')]
    >>> [(name, entry_id) for name, entry_id, _ in in_order(books + trades, 2, 9)]
    [('books', b'1-0'), ('trades', b'1-0')]
    >>> [(name, entry_id) for name, entry_id, _ in in_order(books, 3, 9, until_ms=2)]
    [('books', b'1-0')]
    """
    full = Counter(name for name, *_ in entries)
    if len(full) < 2 and until_ms is None:
        return list(entries)
    placed = [(by_id(entry), entry) for entry in entries]
    last = {entry[0]: position for position, entry in placed}
    ends = [last[name] for name, n in full.items() if n >= count] if len(full) > 1 else []
    placed = [one for one in placed if until_ms is None or one[0][0] < until_ms]
    if ends:
        known = [one for one in placed if one[0][0] < min(ends)[0]]
        if not known and count >= most:
            known = [one for one in placed if one[0] <= min(ends)]
        placed = known
    placed.sort(key=itemgetter(0))
    return [entry for _, entry in placed]


def by_time(entries: Sequence[Entry], time_us: Callable[[Fields], int]) -> list[Entry]:
    """Return entries that are in the order of their ids with those of one millisecond in the order of their event times.

    Ids of two streams do not tell the order within a millisecond, and a producer that appends what it kept may append seconds of messages
    in one. So there the event times decide, where entries of two streams meet.
    """
    found: list[Entry] = []
    for _, of_millisecond in groupby(entries, lambda entry: entry[1].partition(b"-")[0]):
        some = list(of_millisecond)
        if len(some) > 1 and any(name != some[0][0] for name, *_ in some):
            some.sort(key=lambda entry: time_us(entry[2]))
        found += some
    return found


def moved_until(client: redis.Redis, streams: Sequence[str]) -> tuple[int, int]:
    """Return the server's time, and the time up to which everything that arrived in the streams has been moved on, in ms.

    On several servers these are the earliest times.
    """
    pipe: Any = client.pipeline(transaction=False)
    for stream in streams:
        pipe.eval(_MOVED_UNTIL, 1, stream)
    found = pipe.execute()
    return min(now for now, _ in found), min(moved for _, moved in found)


def entries_between(
    client: redis.Redis, stream: str, after: bytes, last: bytes, count: int
) -> list[tuple[bytes, Fields]]:
    """Return the first ``count`` entries behind ``after``, up to and with ``last``."""
    entries: Any = client.xrange(stream, b"(" + after, last, count=count)
    return list(entries)


def split_by_size(entries: Sequence[E]) -> list[Sequence[E]]:
    """Cut entries, whose fields come last, into parts of at most ``PART_BYTES``; a larger entry is a part of its own."""
    if sum(map(len, chain.from_iterable(entry[-1].values() for entry in entries))) <= PART_BYTES:
        return [entries]
    parts: list[list[E]] = []
    room = 0
    for entry in entries:
        size = sum(map(len, entry[-1].values()))
        if not parts or size > room:
            parts.append([])
            room = PART_BYTES
        parts[-1].append(entry)
        room -= size
    return list(parts)


def next_count(count: int, n_parts: int, most: int) -> int:
    """Return how many entries to ask for after a reply to ``count``: fewer if it had several parts, else more, up to ``most``.

    >>> next_count(16, 1, 1000), next_count(1000, 1, 1000), next_count(16, 2, 1000), next_count(2, 2, 1000)
    (32, 1000, 4, 1)
    """
    return min(2 * count, most) if n_parts == 1 else max(count // 4, 1)


def is_newer(a: bytes, b: bytes) -> bool:
    """Return whether entry id ``a`` comes after ``b``.

    >>> is_newer(b"10-0", b"9-5"), is_newer(b"9-5", b"9-5")
    (True, False)
    """
    return id_numbers(a) > id_numbers(b)


def id_numbers(entry_id: bytes) -> tuple[int, int]:
    """Return the two numbers of an entry id: milliseconds when the entry was appended, and a counter within them."""
    ms, _, n = entry_id.partition(b"-")
    return int(ms), int(n)


def by_id(entry: Entry) -> tuple[int, int]:
    """Return the sort key of an entry: its id."""
    return id_numbers(entry[1])


def join_group(client: redis.Redis, streams: Sequence[str]) -> None:
    """Make the group on each stream, from its first entry; keep a group that exists."""
    for stream in streams:
        try:
            client.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


def unacknowledged_entries(client: redis.Redis, stream: str, count: int) -> Iterator[list[Entry]]:
    """Yield the entries that the consumer was given before and did not acknowledge, oldest first, ``count`` at a time.

    An entry that was trimmed away meanwhile has no fields left and is left out.
    """
    after: bytes | str = "0"
    while True:
        entries = _entries(client.xreadgroup(GROUP, CONSUMER, {stream: after}, count=count))
        if not entries:
            return
        after = entries[-1][1]
        yield [entry for entry in entries if entry[2]]


class Abandoned:
    """Finds entries that were given to a process of the group, which has not acknowledged them for long.

    It counts the time with the clock of its caller: that of Redis may be set back, and an entry is then given in the future.
    """

    def __init__(self, client: redis.Redis, stream: str, count: int, after_s: float) -> None:
        self._client, self._stream, self._count, self._after_s = client, stream, count, after_s
        self._seen: dict[bytes, float] = {}

    def look(self, now_s: float) -> list[Entry]:
        """Return those of the oldest unacknowledged entries that were so at each look since ``after_s`` ago."""
        found: list[Entry] = next(unacknowledged_entries(self._client, self._stream, self._count), [])
        self._seen = {entry_id: self._seen.get(entry_id, now_s) for _, entry_id, _ in found}
        return [entry for entry in found if now_s - self._seen[entry[1]] >= self._after_s]


def new_entries(client: redis.Redis, streams: Sequence[str], count: int, block_ms: int) -> list[Entry]:
    """Return entries that the group was not given yet, at most ``count`` a stream; wait up to ``block_ms`` for the first."""
    return _entries(client.xreadgroup(GROUP, CONSUMER, dict.fromkeys(streams, ">"), count=count, block=block_ms))


def _entries(reply: Any) -> list[Entry]:
    return [(name.decode(), entry_id, fields) for name, entries in reply or [] for entry_id, fields in entries]
