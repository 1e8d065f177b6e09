"""Appending messages to the partition logs, many in one round trip."""

from __future__ import annotations

from typing import Any

import redis

from ingest.messages.decode import encode
from ingest.messages.kinds import Message
from ingest.streams.keys import SOCIAL, events, partition_of


class Publisher:
    """Appends messages to the logs; what our own feeds, the replay and the simulator write through.

    Appends are gathered and sent together: call ``flush``, or leave the ``with`` block, for the last of them.
    """

    def __init__(self, client: redis.Redis, partitions: int, *, batch: int = 500) -> None:
        self._client = client
        self._partitions = partitions
        self._batch = batch
        self._pipeline: Any = client.pipeline(transaction=False)
        self._events = [events(p) for p in range(partitions)]

    def publish(self, kind: str, message: Message, *, recorded: bool = False) -> None:
        """Append one message to the log of its symbol."""
        fields: dict[Any, Any] = {b"kind": kind, b"data": encode(message)}
        if recorded:
            fields[b"recorded"] = b"1"
        self._pipeline.xadd(self._events[partition_of(message.symbol, self._partitions)], fields)
        if len(self._pipeline) >= self._batch:
            self.flush()

    def publish_post(self, data: bytes, *, recorded: bool = False) -> None:
        """Append one encoded ``SocialPost`` to the stream that the scorer reads."""
        fields: dict[Any, Any] = {b"data": data}
        if recorded:
            fields[b"recorded"] = b"1"
        self._pipeline.xadd(SOCIAL, fields)
        if len(self._pipeline) >= self._batch:
            self.flush()

    def flush(self) -> None:
        """Send what is gathered."""
        if len(self._pipeline):
            self._pipeline.execute()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
