"""A stream of the simulated server, with its consumer groups, and the commands on it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ResponseError

Id = tuple[int, int]
Entry = tuple[bytes, list[bytes]]
LARGEST = (1 << 64) - 1


@dataclass(slots=True)
class Pending:
    """An entry that a consumer was given and did not acknowledge."""

    consumer: bytes
    given_ms: int
    times: int = 1


@dataclass(slots=True)
class Group:
    """A consumer group: what it was given last, how many entries it has read, what is pending, and when its consumers asked last."""

    last: Id
    read: int | None = None
    pending: dict[Id, Pending] = field(default_factory=dict)
    consumers: dict[bytes, int] = field(default_factory=dict)

    def copy(self) -> Group:
        pending = {i: Pending(p.consumer, p.given_ms, p.times) for i, p in self.pending.items()}
        return Group(self.last, self.read, pending, dict(self.consumers))


class Stream:
    """Entries by id. ``history`` keeps also those that were deleted, for the checks at the end."""

    __slots__ = ("added", "entries", "groups", "history", "ids", "last")

    def __init__(self) -> None:
        self.ids: list[Id] = []
        self.entries: list[Entry] = []
        self.history: list[Entry] = []
        self.last: Id = (0, 0)
        self.added = 0
        self.groups: dict[bytes, Group] = {}

    def copy(self) -> Stream:
        """Return a copy that later changes do not touch."""
        other = Stream()
        other.ids, other.entries, other.history = self.ids[:], self.entries[:], self.history[:]
        other.last, other.added = self.last, self.added
        other.groups = {name: group.copy() for name, group in self.groups.items()}
        return other

    def append(self, now_ms: int, words: list[bytes]) -> bytes:
        """Append an entry with an id of the clock, or right behind the last one where the clock is behind that."""
        ms, n = self.last
        self.last = new = (now_ms, 0) if now_ms > ms else (ms, n + 1)
        name = b"%d-%d" % new
        entry = (name, words)
        self.ids.append(new)
        self.entries.append(entry)
        self.history.append(entry)
        self.added += 1
        return name

    def delete(self, entry_id: bytes) -> int:
        """Delete an entry; return whether it was there."""
        wanted = parse(entry_id)
        i = bisect_left(self.ids, wanted)
        if i == len(self.ids) or self.ids[i] != wanted:
            return 0
        del self.ids[i], self.entries[i]
        return 1

    def drop_first(self, n: int) -> int:
        """Delete the first ``n`` entries."""
        del self.ids[:n], self.entries[:n]
        return n

    def between(self, low: bytes, high: bytes) -> tuple[int, int]:
        """Return the places of the entries in a range of ids as XRANGE takes it."""
        first = bisect_right(self.ids, parse(low[1:])) if low[:1] == b"(" else bisect_left(self.ids, parse(low))
        if high[:1] == b"(":
            return first, bisect_left(self.ids, parse(high[1:], LARGEST))
        return first, len(self.ids) if high == b"+" else bisect_right(self.ids, parse(high, LARGEST))

    def behind(self, position: Id, count: int) -> list[Entry]:
        """Return at most ``count`` entries behind a position."""
        first = bisect_right(self.ids, position)
        return self.entries[first : first + count]

    def entry(self, wanted: Id) -> Entry | None:
        """Return the entry of an id, if it is there."""
        i = bisect_left(self.ids, wanted)
        return self.entries[i] if i < len(self.ids) and self.ids[i] == wanted else None


def parse(text: bytes, n: int = 0) -> Id:
    """Return the two numbers of an id; ``n`` is the second one where the text has none."""
    if text == b"-":
        return 0, 0
    ms, dash, rest = text.partition(b"-")
    try:
        return int(ms), int(rest) if dash else n
    except ValueError:
        raise ResponseError("Invalid stream ID specified as stream command argument") from None


def shown(entry: Entry) -> list[Any]:
    """Return an entry as a reply holds it."""
    return [entry[0], entry[1]]


def read_group(stream: Stream, group: Group, who: bytes, after: bytes, count: int, now_ms: int) -> list[Any]:
    """Give entries to a consumer: new ones for ``>``, else those that it was given before, behind ``after``."""
    group.consumers[who] = now_ms
    if after == b">":
        given = stream.behind(group.last, count)
        for name, _ in given:
            group.last = parse(name)
            group.pending[group.last] = Pending(who, now_ms)
            group.read = None if group.read is None else group.read + 1
        return [shown(entry) for entry in given]
    before = sorted(i for i, p in group.pending.items() if p.consumer == who and i > parse(after))[:count]
    found = [(i, stream.entry(i)) for i in before]
    return [shown(entry) if entry else [b"%d-%d" % i, None] for i, entry in found]


def about_group(stream: Stream, name: bytes, group: Group) -> list[Any]:
    """Return what XINFO GROUPS tells of a group."""
    behind = len(stream.ids) - bisect_right(stream.ids, group.last)
    last = b"%d-%d" % group.last
    about = [b"name", name, b"consumers", len(group.consumers), b"pending", len(group.pending)]
    return [*about, b"last-delivered-id", last, b"entries-read", group.read, b"lag", behind]


def words_after(words: Sequence[bytes], option: bytes) -> int:
    """Return the number behind an option."""
    return int(words[words.index(option) + 1])
