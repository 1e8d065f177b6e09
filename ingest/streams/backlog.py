"""What waits in the streams of the pipeline, and what it has counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from ingest.messages.kinds import PLAIN_STREAM
from ingest.streams import keys
from ingest.streams.read import id_numbers

EVENTS, OUTBOX = "events", "outbox"
SCORER_MODEL = "scorer.model"  # the one counter that is a name: of the model that scored last


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream and its consumer group.

    Attributes
    ----------
    name : str
    partition : int or None
        ``events`` and ``outbox`` are one a partition; a plain stream has none.
    length : int
        Entries that the stream holds.
    lag : int
        Entries that the group was not given yet. A stream without a group loses its entries when they are done, so all of them are lag.
    pending : int
        Entries given and not acknowledged.
    oldest_ms : int or None
        When the oldest entry that is not done arrived; None where all are done.
    """

    name: str
    partition: int | None
    length: int = 0
    lag: int = 0
    pending: int = 0
    oldest_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """Entries that wait: of the plain streams, of the posts, of the logs, and batches of the outboxes."""

    plain: int
    posts: int
    events: int
    outbox: int

    @property
    def total(self) -> int:
        """Zero when everything that was published is in both stores."""
        return self.plain + self.posts + self.events + self.outbox


def backlog(client: redis.Redis, partitions: int) -> Backlog:
    """Count what waits now."""
    return sum_up(streams(client, partitions))


def sum_up(every: Sequence[Stream]) -> Backlog:
    """Return the sums of lag and pending over the streams of each kind."""
    waiting: Counter[str] = Counter()
    for stream in every:
        waiting[stream.name] += stream.lag + stream.pending
    return Backlog(
        plain=sum(waiting[name] for name in PLAIN_STREAM),
        posts=waiting[keys.SOCIAL],
        events=waiting[EVENTS],
        outbox=waiting[OUTBOX],
    )


def streams(client: redis.Redis, partitions: int) -> list[Stream]:
    """Return the state of every stream, in two round trips; a stream that does not exist yet is empty."""
    wanted: list[tuple[str, int | None, str]] = [(name, None, name) for name in (*PLAIN_STREAM, keys.SOCIAL)]
    for p in range(partitions):
        wanted += [(EVENTS, p, keys.events(p)), (OUTBOX, p, keys.outbox(p))]
    groups = [_own(found) for found in ask(client, [("XINFO GROUPS", key) for _, _, key in wanted])]
    calls: list[tuple[Any, ...]] = []
    for (_, _, key), group in zip(wanted, groups, strict=True):
        after = group.get("last-delivered-id", b"0-0")
        calls += [("XLEN", key), ("XPENDING", key, keys.GROUP), ("XRANGE", key, b"(" + after, "+", "COUNT", 1)]
    replies = ask(client, calls)
    each = zip(wanted, groups, replies[::3], replies[1::3], replies[2::3], strict=True)
    return [_stream(name, p, *about) for (name, p, _), *about in each]


def _own(groups: Any) -> Mapping[str, Any]:
    return next((g for g in groups or [] if g["name"] == keys.GROUP.encode()), {})


def _stream(
    name: str, partition: int | None, group: Mapping[str, Any], length: int, pending: Any, after: Any
) -> Stream:
    held = int(group.get("pending", 0))
    lag = group.get("lag", length)
    if lag is None:  # the server does not know it once entries in between were deleted; at most all that is not held
        lag = max(length - held, 1) if after else 0
    first = pending["min"] if held and pending else None
    oldest = first or (after[0][0] if after else None)
    return Stream(name, partition, length, int(lag), held, None if oldest is None else id_numbers(oldest)[0])


def untaped_ms(client: redis.Redis, partitions: int) -> list[int | None]:
    """Return for each log when the oldest entry that is not on the tape arrived; None where all are."""
    positions = ask(client, [("GET", keys.taped(p)) for p in range(partitions)])
    behind = [b"(" + (position or b"0-0") for position in positions]
    found = ask(client, [("XRANGE", keys.events(p), after, "+", "COUNT", 1) for p, after in enumerate(behind)])
    return [id_numbers(entries[0][0])[0] if entries else None for entries in found]


def counters_by_place(client: redis.Redis, partitions: int) -> dict[int | str, dict[str, str]]:
    """Return the counters of each partition and of the edge; all but ``SCORER_MODEL`` are numbers."""
    places: list[int | str] = [*range(partitions), keys.EDGE]
    found = ask(client, [("HGETALL", keys.counters(place)) for place in places])
    return {
        place: {name.decode(): value.decode(errors="replace") for name, value in counts.items()}
        for place, counts in zip(places, found, strict=True)
    }


def counters(client: redis.Redis, partitions: int) -> dict[str, int]:
    """Return what was accepted, refused and emitted since the logs began, over all partitions and the edge."""
    return add_up(counters_by_place(client, partitions).values())


def add_up(places: Iterable[Mapping[str, str]]) -> dict[str, int]:
    """Return the sum over places of every counter that is a number, in order of name."""
    total: Counter[str] = Counter()
    for counts in places:
        total.update({name: number(n) for name, n in counts.items() if name != SCORER_MODEL})
    return dict(sorted(total.items()))


def number(text: str | None) -> int:
    """Return a count; 0 where there is none or it is no number.

    >>> number("12"), number(None), number("x")
    (12, 0, 0)
    """
    try:
        return int(text or 0)
    except ValueError:
        return 0


def ask(client: redis.Redis, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return the replies to several commands, in order; None where the stream or its group does not exist yet."""
    pipe: Any = client.pipeline(transaction=False)
    for call in calls:
        pipe.execute_command(*call)
    replies = pipe.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, redis.RedisError) and not str(reply).startswith(("no such key", "NOGROUP")):
            raise reply
    return [None if isinstance(reply, redis.RedisError) else reply for reply in replies]
