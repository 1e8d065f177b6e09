"""The table ``microprice_tables`` of the offline database: every fit, as it was made; and its way into the logs.

Rows are appended and never changed. ``version`` counts from 1 for each symbol. ``usable_from`` is never before ``fitted_before``, so
no feature row is made with a table that knows the row's future. ``g`` is in ticks, imbalance bins by spread bins, NULL where the data
were not enough. Tables are published to the logs of their symbols, where the live worker and every replay of the log find them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import psycopg
import redis

from feature_repo.stores.errors import UserError
from ingest.messages.check import check_microprice
from ingest.messages.kinds import MicropriceTable
from ingest.publish.publisher import Publisher
from ingest.settings import Settings
from ingest.streams.deployment import fix_in_redis
from transforms.microstructure.layout import G_SIZE, TABLE_G, TABLE_TICK
from transforms.microstructure.microprice_fit import Floats
from transforms.times import EPOCH, ms_of_datetime

_LONGEST_AHEAD = timedelta(days=31)
_CREATE = f"""
CREATE TABLE IF NOT EXISTS microprice_tables (
    symbol text NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    fitted_before timestamptz NOT NULL,
    usable_from timestamptz NOT NULL CHECK (usable_from >= fitted_before),
    created_timestamp timestamptz NOT NULL,
    books bigint NOT NULL,
    tick double precision NOT NULL CHECK (tick > 0),
    g double precision[] NOT NULL CHECK (cardinality(g) = {G_SIZE}),
    PRIMARY KEY (symbol, version)
)"""
_INSERT = """
INSERT INTO microprice_tables (symbol, version, fitted_before, usable_from, created_timestamp, books, tick, g)
SELECT %(symbol)s, coalesce(max(version), 0) + 1, %(fitted_before)s, %(usable_from)s, %(created)s, %(books)s, %(tick)s, %(g)s
FROM microprice_tables WHERE symbol = %(symbol)s
RETURNING version"""


class SpanError(UserError, ValueError):
    """Dates that make no sense, or with which a row would be made by a table that knows the row's future."""


@dataclass(frozen=True, slots=True)
class Span:
    """The history of a fit (``before`` not included), the first row that uses its table, and when it is made; all times are aware."""

    since: datetime
    before: datetime
    usable_from: datetime
    now: datetime


def span_of(since: datetime | None, before: datetime | None, usable_from: datetime | None, now: datetime) -> Span:
    """Return the times of a fit. Raise ``SpanError`` if they are in the wrong order, or too far in the future.

    By default all history before 00:00 UTC today is fitted, and the table is used from the next 00:00 UTC on.
    """
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    end = today if before is None else before
    begin = EPOCH if since is None else since
    usable = max(today + timedelta(days=1), end) if usable_from is None else usable_from
    if end > now:
        raise SpanError(f"--before {end.isoformat()} is in the future: that history is not over")
    if begin >= end:
        raise SpanError(f"--since {begin.isoformat()} is not before --before {end.isoformat()}")
    if usable < end:
        raise SpanError(
            f"--from {usable.isoformat()} is before --before {end.isoformat()}: those rows would know their future"
        )
    if usable > now + _LONGEST_AHEAD:
        raise SpanError(f"--from {usable.isoformat()} is more than {_LONGEST_AHEAD.days} days ahead")
    return Span(begin, end, usable, now)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A row of the table; its times are aware."""

    symbol: str
    version: int
    fitted_before: datetime
    usable_from: datetime
    created: datetime
    books: int
    tick: float
    g: list[float | None]

    def message(self) -> MicropriceTable:
        """Return the table as a message; its ``timestamp`` is the time of the fit."""
        made, before, usable = map(ms_of_datetime, (self.created, self.fitted_before, self.usable_from))
        return MicropriceTable(made, self.symbol, self.version, before, usable, self.tick, self.g)


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Create the table if it is missing."""
    connection.execute(_CREATE)


def append(connection: psycopg.Connection[Any], symbol: str, span: Span, table: Floats, books: int) -> Fitted:
    """Store a table that ``microprice_fit`` made from ``books`` rows, with the next version of its symbol."""
    g = [None if x != x else x for x in table[TABLE_G:].tolist()]
    fitted = Fitted(symbol, 0, span.before, span.usable_from, span.now, books, float(table[TABLE_TICK]), g)
    with connection.transaction():
        # two fits at once must get two versions
        connection.execute("LOCK TABLE microprice_tables IN SHARE ROW EXCLUSIVE MODE")
        row = connection.execute(_INSERT, asdict(fitted)).fetchone()
    assert row is not None  # noqa: S101 - an aggregate returns a row
    return replace(fitted, version=int(row[0]))


def load(connection: psycopg.Connection[Any], symbols: Sequence[str] | None = None) -> dict[str, list[MicropriceTable]]:
    """Return the tables of each symbol (None: of all) as messages, in the order in which they replace each other.

    The result is empty if the database has no such table.
    """
    if connection.execute("SELECT to_regclass('microprice_tables')").fetchone() == (None,):
        return {}
    found: dict[str, list[MicropriceTable]] = {}
    query = (
        "SELECT symbol, version, fitted_before, usable_from, created_timestamp, books, tick, g FROM microprice_tables "
        "WHERE %(symbols)s::text[] IS NULL OR symbol = ANY(%(symbols)s) ORDER BY symbol, usable_from, version"
    )
    for row in connection.execute(query, {"symbols": None if symbols is None else list(symbols)}):
        fitted = Fitted(*row)
        found.setdefault(fitted.symbol, []).append(fitted.message())
    return found


def in_force(tables: Mapping[str, Sequence[MicropriceTable]], now_ms: int) -> list[MicropriceTable]:
    """Return for each symbol the table that is used at ``now_ms`` and those that will be used later, in order."""
    kept: list[MicropriceTable] = []
    for of_symbol in tables.values():
        used = [table for table in of_symbol if table.usable_from <= now_ms]
        kept += used[-1:] + [table for table in of_symbol if table.usable_from > now_ms]
    return kept


def publish(client: redis.Redis, settings: Settings, tables: Iterable[MicropriceTable], now_ms: int) -> int:
    """Append ``tables`` to the logs with the timestamp ``now_ms``; return their number.

    A table that is published twice changes nothing. Raise ``PartitionsError`` if the logs have another number of partitions,
    ``Refused`` if the worker would refuse a table.
    """
    fix_in_redis(client, settings.partitions, settings.deployment)
    n = 0
    with Publisher(client, settings.partitions, configured=settings.configured) as publisher:
        for n, table in enumerate(tables, 1):  # noqa: B007 - counted
            message = msgspec.structs.replace(table, timestamp=now_ms)
            check_microprice(message)
            publisher.publish("microprice", message)
    return n
