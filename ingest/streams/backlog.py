"""What has not reached the stores yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from ingest.messages.kinds import PLAIN_STREAM
from ingest.streams import keys


@dataclass(frozen=True, slots=True)
class Backlog:
    """Entries that wait: of the plain streams and posts, of the logs, and batches of the outboxes."""

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
    return Backlog(
        plain=sum(_waiting(client, name) for name in PLAIN_STREAM),
        posts=_waiting(client, keys.SOCIAL),
        events=sum(_waiting(client, keys.events(p)) for p in range(partitions)),
        outbox=sum(_length(client, keys.outbox(p)) for p in range(partitions)),
    )


def _waiting(client: redis.Redis, stream: str) -> int:
    """Entries of a stream that the group has not acknowledged: what it was not given, and what it holds."""
    if not client.exists(stream):
        return 0
    groups: Any = client.xinfo_groups(stream)
    for group in groups:
        if group["name"] == keys.GROUP.encode():
            if group["lag"] is not None:
                return int(group["lag"]) + int(group["pending"])
            after: Any = client.xrange(stream, min=b"(" + group["last-delivered-id"], count=1000)
            return len(after) + int(group["pending"])
    return _length(client, stream)


def _length(client: redis.Redis, stream: str) -> int:
    length: Any = client.xlen(stream)
    return int(length)


def counters(client: redis.Redis, partitions: int) -> dict[str, int]:
    """What was accepted, refused and emitted since the logs began, over all partitions and the edge."""
    total: dict[str, int] = {}
    for where in (*range(partitions), keys.EDGE):
        found: Any = client.hgetall(keys.counters(where))
        for name, n in found.items():
            if not n.isdigit():
                continue  # the scorer's model, which is a name
            total[name.decode()] = total.get(name.decode(), 0) + int(n)
    return dict(sorted(total.items()))


EVENTS, OUTBOX = "events", "outbox"


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


def streams(client: redis.Redis, partitions: int) -> list[Stream]:
    """How every stream of the pipeline stands; one that does not exist yet is empty."""
    wanted: list[tuple[str, int | None, str]] = [(name, None, name) for name in (*PLAIN_STREAM, keys.SOCIAL)]
    for p in range(partitions):
        wanted += [(EVENTS, p, keys.events(p)), (OUTBOX, p, keys.outbox(p))]
    names = [key for _, _, key in wanted]
    groups = _ask(client, [("XINFO GROUPS", key) for key in names])
    group = [_own(found) for found in groups]
    more = _ask(client, [call for key, found in zip(names, group, strict=True) for call in _calls(key, found)])
    return [_stream(*wanted[i][:2], group[i], *more[4 * i : 4 * i + 4]) for i in range(len(wanted))]


def _calls(key: str, group: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    after = group.get("last-delivered-id", b"0-0")
    return [
        ("XLEN", key),
        ("XINFO CONSUMERS", key, keys.GROUP),
        ("XPENDING", key, keys.GROUP),
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
    asked = [c["idle"] for c in consumers or [] if c["name"] == keys.CONSUMER.encode()]
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
    return next((g for g in groups or [] if g["name"] == keys.GROUP.encode()), {})


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
