"""What has not reached the stores yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from ingest import log
from ingest.messages import PLAIN_STREAM


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
        posts=_waiting(client, log.SOCIAL),
        events=sum(_waiting(client, log.events(p)) for p in range(partitions)),
        outbox=sum(_length(client, log.outbox(p)) for p in range(partitions)),
    )


def _waiting(client: redis.Redis, stream: str) -> int:
    """Entries of a stream that the group has not acknowledged: what it was not given, and what it holds."""
    if not client.exists(stream):
        return 0
    groups: Any = client.xinfo_groups(stream)
    for group in groups:
        if group["name"] == log.GROUP.encode():
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
    for where in (*range(partitions), log.EDGE):
        found: Any = client.hgetall(log.counters(where))
        for name, n in found.items():
            if not n.isdigit():
                continue  # the scorer's model, which is a name
            total[name.decode()] = total.get(name.decode(), 0) + int(n)
    return dict(sorted(total.items()))
