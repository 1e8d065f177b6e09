"""Publish tables to the logs of their symbols, where the live worker and every replay of the log find them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import redis

from ingest.messages.check import check_microprice
from ingest.messages.kinds import MicropriceTable
from ingest.publish.publisher import Publisher
from ingest.settings import Settings
from ingest.streams.keys import check_partitions


def publish(client: redis.Redis, settings: Settings, tables: Iterable[MicropriceTable], now_ms: int) -> int:
    """Append ``tables`` to the logs with the timestamp ``now_ms``; return their number.

    A table that is published twice changes nothing.

    Raises
    ------
    ingest.streams.keys.PartitionsError
        The logs have another number of partitions.
    ingest.messages.refusal.Refused
        The worker would refuse a table.
    """
    check_partitions(client, settings.partitions)
    n = 0
    with Publisher(client, settings.partitions) as publisher:
        for n, table in enumerate(tables, 1):  # noqa: B007 - counted
            message = msgspec.structs.replace(table, timestamp=now_ms)
            check_microprice(message)
            publisher.publish("microprice", message)
    return n


def in_force(tables: Mapping[str, Sequence[MicropriceTable]], now_ms: int) -> list[MicropriceTable]:
    """Return for each symbol the table that is used at ``now_ms`` and those that will be used later, in order."""
    kept: list[MicropriceTable] = []
    for of_symbol in tables.values():
        used = [table for table in of_symbol if table.usable_from <= now_ms]
        kept += used[-1:] + [table for table in of_symbol if table.usable_from > now_ms]
    return kept
