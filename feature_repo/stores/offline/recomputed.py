"""Rows of a backfill: they take the place of what was recomputed before, and never that of a served row.

A view has at most one recomputed row of a symbol and event time. The rows of a symbol-day are collected in temporary tables of the
connection, which last over transactions. When all are there, those of a view and span of time take the place of the recomputed rows that
the view has in it, in one transaction. Where the stored rows say the same and name the same kernels, nothing is changed, so a chunk of the
columnstore is not unpacked for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.offline.append import encoded_rows
from feature_repo.stores.offline.binary import encode
from feature_repo.stores.offline.kernels import Versions, number_of
from feature_repo.stores.offline.tables.schema import column_definitions, makers, table_of_view
from transforms import catalog
from transforms.times import datetime_of_us

_LOCK: Final = 0x7F5_0FF2  # an arbitrary number: one replacement at a time for a symbol
_NO_LIMIT: Final = "SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)"
"""A symbol-day in a compressed chunk has more rows than a transaction may touch by default."""

_WHICH: Final = sql.SQL("symbol = %(symbol)s AND event_timestamp >= %(begin)s AND event_timestamp < %(end)s")
_ANY: Final = "SELECT EXISTS (SELECT FROM {table} WHERE {which} AND recomputed)"
_DIFFERS: Final = """
WITH new AS (SELECT {columns} FROM {staged} WHERE {which}), old AS (SELECT {columns} FROM {table} WHERE {which} AND recomputed)
SELECT EXISTS ((TABLE new EXCEPT ALL TABLE old) UNION ALL (TABLE old EXCEPT ALL TABLE new))"""
_DELETE: Final = "DELETE FROM {table} WHERE {which} AND recomputed"
_INSERT: Final = "INSERT INTO {table} ({columns}) SELECT {columns} FROM {staged} WHERE {which} ORDER BY event_timestamp"
_STAGE: Final = sql.SQL("CREATE TEMP TABLE {0} ({1}); CREATE INDEX ON {0} (symbol, event_timestamp)")
_CLEAR: Final = """
DELETE FROM {staged} AS s USING unnest(%(symbols)s::text[], %(ends)s::timestamptz[]) AS done (symbol, until)
WHERE s.symbol = done.symbol AND s.event_timestamp < done.until"""


class Recomputed:
    """Rows of a backfill on their way into the tables.

    Parameters
    ----------
    connection : psycopg.Connection
        In autocommit mode; nobody else uses it at the same time.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._staged: set[str] = set()  # views that have a temporary table

    def stage(
        self,
        view: catalog.View,
        symbols: Sequence[str],
        event_us: NDArray[np.int64],
        created_us: NDArray[np.int64],
        values: NDArray[np.float64],
        silent_us: NDArray[np.int64],
        versions: Versions | None,
    ) -> None:
        """Collect rows of a view, all of the same kernels; arguments as of ``append.append_rows``."""
        table = table_of_view(view)
        if view.name not in self._staged:
            defaults = makers(number_of(self._connection, versions), recomputed=True)
            self._connection.execute(
                _STAGE.format(_staged(view), column_definitions(table.all_columns, defaults=defaults))
            )
            self._staged.add(view.name)
        columns = encoded_rows(view, symbols, event_us, created_us, values, silent_us)
        with self._connection.transaction(), self._connection.cursor() as cursor:
            encode.copy_in(cursor, _staged(view), columns, table.columns)

    @contextmanager
    def transaction(self, symbol: str) -> Iterator[None]:
        """Begin a transaction that replaces rows of a symbol; another one of the same symbol waits until it ends."""
        with self._connection.transaction():
            self._connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK, symbol))
            self._connection.execute(_NO_LIMIT)
            yield

    def replace(self, view: catalog.View, symbol: str, begin_us: int, end_us: int) -> int:
        """Let the collected rows from ``begin_us`` until ``end_us`` be the recomputed ones of that time; return how many were written.

        None are written where the stored ones say the same. Call it in `transaction`.
        """
        if view.name not in self._staged:  # no row of the view was collected
            return self.delete(view, symbol, begin_us, end_us)
        which = _which(symbol, begin_us, end_us)
        if self._run(_ANY, view, which).fetchone() == (True,):
            if self._run(_DIFFERS, view, which).fetchone() == (False,):
                return 0
            self._run(_DELETE, view, which)
        return self._run(_INSERT, view, which).rowcount

    def delete(self, view: catalog.View, symbol: str, begin_us: int, end_us: int) -> int:
        """Delete the recomputed rows of a time and return 0, which is how many were written. Call it in `transaction`."""
        self._run(_DELETE, view, _which(symbol, begin_us, end_us))
        return 0

    def clear(self, done: Sequence[tuple[str, int]] | None = None) -> None:
        """Drop collected rows: of each symbol in ``done`` those before a time, or all."""
        names, ends = zip(*done, strict=True) if done else ((), ())
        which = {"symbols": list(names), "ends": [datetime_of_us(end) for end in ends]}
        for name in self._staged:
            view = catalog.VIEW[name]
            if done is None:
                self._connection.execute(sql.SQL("TRUNCATE {}").format(_staged(view)))
            elif done:
                self._run(_CLEAR, view, which)
                # Nobody else cleans a temporary table.
                self._connection.execute(sql.SQL("VACUUM {}").format(_staged(view)))

    def _run(self, form: LiteralString, view: catalog.View, which: dict[str, Any]) -> psycopg.Cursor[Any]:
        # Not prepared: the server then plans for these times, and not for all.
        return self._connection.execute(_statement(form, view), which, prepare=False)


def _which(symbol: str, begin_us: int, end_us: int) -> dict[str, Any]:
    return {"symbol": symbol, "begin": datetime_of_us(begin_us), "end": datetime_of_us(end_us)}


def _staged(view: catalog.View) -> sql.Identifier:
    return sql.Identifier("pg_temp", f"recomputed_{view.name}")


@lru_cache
def _statement(form: LiteralString, view: catalog.View) -> bytes:
    """Return a statement for a view. The names are those of the catalogue, which have no percent sign."""
    table = table_of_view(view)
    return (
        sql.SQL(form)
        .format(
            table=table.identifier,
            staged=_staged(view),
            columns=sql.SQL(", ").join(map(sql.Identifier, table.all_columns)),
            which=_WHICH,
        )
        .as_bytes(None)
    )
