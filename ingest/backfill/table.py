"""Write rows to the offline tables and record which symbol-days are finished, in the same transaction."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg

from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from ingest.worker import rows
from transforms.catalog import VIEWS, View
from transforms.kernel import DAY_US, Vector
from transforms.times import date_of_day, day_of_date

ROWS = 50_000
"""Most rows held in memory before a write; about 20 MB."""
_TABLE = """
CREATE TABLE IF NOT EXISTS backfill_done (
    run bytea NOT NULL,
    symbol text NOT NULL,
    day date NOT NULL,
    rows bigint NOT NULL,
    done_at timestamptz NOT NULL,
    PRIMARY KEY (run, symbol, day)
)"""
_DONE = "INSERT INTO backfill_done (run, symbol, day, rows, done_at) VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"


def prepare(connection: psycopg.Connection) -> None:
    """Create the tables that are missing, as ``feast apply`` does."""
    migrate(connection, [table_of_view(view) for view in VIEWS])
    connection.execute(_TABLE)


def finished(connection: psycopg.Connection, run: bytes) -> set[tuple[str, int]]:
    """Return the symbols and days (since 1970) that an earlier call of the same run has written."""
    found = connection.execute("SELECT symbol, day FROM backfill_done WHERE run = %s", (run,)).fetchall()
    return {(symbol, day_of_date(day)) for symbol, day in found}


class Writer:
    """Writer that collects the rows of several symbols and writes them in few transactions.

    ``connection`` is in autocommit mode. ``run`` is the digest of the run, its key in ``backfill_done``. Rows of the symbol-days in
    ``done`` are not written. ``delay_us`` is ``created_timestamp - event_timestamp`` of every row.

    Attributes
    ----------
    made, new, skipped : int
        Rows made, those of them that were not in the tables before, and those of finished symbol-days.
    """

    def __init__(self, connection: psycopg.Connection, run: bytes, done: set[tuple[str, int]], delay_us: int) -> None:
        self.made = self.new = self.skipped = 0
        self._connection = connection
        self._run = run
        self._done = done
        self._delay_us = delay_us
        self._batches = {view.name: rows.Batch(view) for view in VIEWS}
        self._waiting = 0
        self._open: dict[str, tuple[int, int]] = {}
        self._complete: list[tuple[str, int, int]] = []

    def add(self, symbol: str, view: View, t_us: int, values: Vector, silent_us: int) -> None:
        """Add a row; ``silent_us`` is how long the view's feed had been silent.

        The rows of a symbol must come in order of time: a later day finishes the day before.
        """
        self.made += 1
        day = t_us // DAY_US
        if (symbol, day) in self._done:
            self.skipped += 1
            return
        before, n = self._open.get(symbol, (day, 0))
        if before != day:
            self._complete.append((symbol, before, n))
            n = 0
        self._open[symbol] = (day, n + 1)
        self._batches[view.name].add(symbol, t_us, t_us + self._delay_us, values, silent_us)
        self._waiting += 1

    def flush(self, *, end: bool = False) -> None:
        """Write the rows if there are ``ROWS`` or more, or if this is the end of all symbols."""
        if end:
            self._complete += [(symbol, day, n) for symbol, (day, n) in self._open.items()]
            self._open.clear()
        elif self._waiting < ROWS:
            return
        with self._connection.transaction():
            for view in VIEWS:
                batch = self._batches[view.name]
                if len(batch):
                    _, symbols, event_us, created_us, values, silent_us = batch.columns()
                    self.new += append_rows(self._connection, view, symbols, event_us, created_us, values, silent_us)
                    self._batches[view.name] = rows.Batch(view)
            if self._complete:
                now = datetime.now(UTC)
                records = [(self._run, symbol, date_of_day(day), n, now) for symbol, day, n in self._complete]
                self._connection.cursor().executemany(_DONE, records)
        self._complete.clear()
        self._waiting = 0
