"""The partition logs: one Redis stream a partition, every kind of message of its symbols in arrival order.

Keys of a partition share a hash tag, so that one script may touch them all on Redis Cluster.
An entry has the fields ``kind`` (see ``messages.KIND``) and ``data`` (or the message flat), and ``recorded`` where it comes from a
recording: then its own receive time counts as the clock's, and no wall clock makes time pass for its symbol.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import redis
from msgspec import msgpack

from ingest.messages import Message, encode

SOCIAL = "social_data"
"""Posts as written; the scorer reads them."""
DEAD_LETTER = "dead_letter"
"""Refused messages, byte for byte, with the reason."""
GROUP = "tfs"
CONSUMER = "owner"
"""The consumer of ``social_data``: whoever reads it next rereads what is pending, in order."""


def events(p: int) -> str:
    """The log of partition ``p``."""
    return f"events:{{{p}}}"


def checkpoint(p: int) -> str:
    """The hash that holds how far the partition is and what its worker knew; see ``partition``."""
    return f"checkpoint:{{{p}}}"


def outbox(p: int) -> str:
    """Rows on their way to the offline store."""
    return f"outbox:{{{p}}}"


def features(p: int) -> str:
    """The normalised vector, for the signal service."""
    return f"features:{{{p}}}"


def owner(seat: int | str) -> str:
    """The lease of a partition, or of a role with one seat: its value is the fencing token."""
    return f"own:{{{seat}}}"


def fence(seat: int | str) -> str:
    """The counter that fencing tokens of a seat are drawn from."""
    return f"fence:{{{seat}}}"


def members(role: str) -> str:
    """The living processes of a role, by the time of their last sign of life."""
    return f"members:{role}"


FIELDS_MAX = 16
"""Fields of a dead letter's message that are kept apart; no message that is taken has as many."""
EDGE = "edge"
"""Where refusals before any log are counted: by the router, the scorer and the replay."""


def counters(where: int | str) -> str:
    """What was accepted, refused and emitted, counted: of partition ``where``, or of the ``EDGE``.

    The edge also holds ``scorer.batches``, ``scorer.texts`` and ``scorer.tokens`` (that the model read), ``scorer.ms`` (that it took)
    and, as a name, ``scorer.model``.
    """
    return f"counters:{{{where}}}"


def partition_of(symbol: str, partitions: int) -> int:
    """The partition of a symbol: crc32 of its name, modulo.

    >>> partition_of("BTCUSDT", 4)
    3
    """
    return zlib.crc32(symbol.encode()) % partitions


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


def refuse(
    client: Any, source: str, fields: Mapping[bytes, bytes], reason: str, detail: str, entry_id: bytes | str = b""
) -> None:
    """Keep and count a message that never reached a log. ``client`` may be a pipeline."""
    letter = dead_letter(source, entry_id, fields, reason, detail)
    client.xadd(DEAD_LETTER, dict(zip(letter[::2], letter[1::2], strict=True)))
    client.hincrby(counters(EDGE), f"refused.{reason}", 1)


def dead_letter(
    source: str, entry_id: bytes | str, fields: Mapping[bytes, bytes], reason: str, detail: str
) -> list[Any]:
    """Fields and values in turn: reason, detail, source and id, and each field of the message under ``field:<name>``.

    A message of more than ``FIELDS_MAX`` fields is kept as one field ``fields``, MessagePack of all: a script takes so many
    arguments only, and one message must not stop it.
    """
    letter: list[Any] = ["reason", reason, "detail", detail[:200], "source", source, "id", entry_id]
    if len(fields) > FIELDS_MAX:
        return [*letter, "fields", msgpack.encode(list(fields.items()))]
    for name, value in fields.items():
        letter += (b"field:" + name, value)
    return letter
