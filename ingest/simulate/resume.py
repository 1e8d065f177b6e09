"""The time from which a simulation continues on a system that was fed before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from ingest.messages.kinds import Gap
from ingest.publish.publisher import Publisher
from ingest.settings import Settings
from ingest.streams import keys
from ingest.worker.partition import Partition
from ingest.worker.timeline import RANK


def resume(client: redis.Redis, settings: Settings, symbols: Sequence[str], start_ms: int) -> int:
    """Return the time to begin at: ``start_ms``, or later if the workers' checkpoints know the symbols up to a later time.

    So no message is late or a repeat. After an earlier feed a gap is published for each symbol: its book is unknown until the next one.
    """
    known_ms = _known_until_ms(client, settings, symbols)
    at_ms = max(start_ms, known_ms)
    if known_ms:
        with Publisher(client, settings.partitions) as publisher:
            for symbol in symbols:
                publisher.publish("gap", Gap(at_ms, symbol, received=at_ms), recorded=True)
    return at_ms


def _known_until_ms(client: redis.Redis, settings: Settings, symbols: Sequence[str]) -> int:
    until_us = 0
    for symbol in symbols:
        p = keys.partition_of(symbol, settings.partitions)
        partition = Partition(p, settings)
        saved: Any = client.hgetall(keys.checkpoint(p))
        partition.restore(saved)
        if symbol in partition.symbols:
            timeline = partition.symbols[symbol].timeline
            until_us = max(
                until_us, timeline.watermark, *(t_us + 1 for t_us, rank, *_ in timeline.held if rank < RANK["post"])
            )
    return -(-until_us // 1000)
