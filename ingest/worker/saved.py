"""What the checkpoint says of a symbol without being restored: how far its rows are written, and when it was heard."""

from __future__ import annotations

from typing import Any

import msgspec
import redis

from ingest.streams import keys
from ingest.streams.idle_state import unpack


def watermark_us(client: redis.Redis, partitions: int, name: str) -> int:
    """Return the watermark of a symbol as it was saved last, 0 where none is known; today's is not before it."""
    p = keys.partition_of(name, partitions)
    order: Any = client.hget(keys.checkpoint(p), f"{name} order")
    if order is not None:
        return read_order(order)[0]
    value: Any = client.hget(keys.idle(p), name)
    return (unpack(value).watermark_us or 0) if value else 0


def heard_ms(order: bytes | None) -> int:
    """Return the receive time of the newest message that a saved part "order" knows, else the watermark."""
    watermark, received_us = read_order(order)
    return (received_us or watermark) // 1000


def read_order(order: bytes | None) -> tuple[int, int]:
    """Return the watermark and the receive time in a saved part "order"; 0 and 0 where another version wrote it."""
    try:
        _, (watermark, *_), (_, _, received_us, *_) = msgspec.msgpack.decode(order or b"")
        return int(watermark), int(received_us)
    except (msgspec.MsgspecError, TypeError, ValueError):
        return 0, 0
