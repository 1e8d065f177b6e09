"""Reading Redis Streams as a consumer group whose one consumer is ``owner``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import redis

from ingest.log import CONSUMER, GROUP

Read = tuple[str, bytes, dict[bytes, bytes]]
"""Stream, entry id, fields."""


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


def order(read: Read) -> tuple[int, int]:
    """Sort key: the entry's id."""
    ms, _, n = read[1].partition(b"-")
    return int(ms), int(n)
