"""The table ``microprice_tables`` of the offline database: every fit, as it was made.

Rows are appended and never changed. ``version`` counts from 1 for each symbol. ``usable_from`` is never before ``fitted_before``, so
no feature row is made with a table that knows the row's future. ``g`` is in ticks, imbalance bins by spread bins, NULL where the data
were not enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import psycopg

from ingest.messages.kinds import MicropriceTable
from ingest.microprice.span import Span
from transforms.microstructure.layout import G_SIZE, TABLE_G, TABLE_TICK
from transforms.microstructure.microprice_fit import Floats
from transforms.times import ms_of_datetime

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
