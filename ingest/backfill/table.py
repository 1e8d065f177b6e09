"""Rows of a backfill of files into the tables, a symbol-day at a time, and the record which symbol-days are finished.

All rows of a symbol-day are collected first; then, in one transaction, those of each view take the place of the recomputed rows that the
view has from the first to the last of them (``feature_repo.stores.offline.recomputed``), and the symbol-day is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg

from feature_repo.stores.offline.recomputed import Recomputed
from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from ingest.worker import rows
from transforms.catalog import VIEWS, View
from transforms.kernel import DAY_US, Vector
from transforms.times import date_of_day, day_of_date

ROWS = 50_000
"""Most rows held in memory before they are collected in the database; about 20 MB."""
_TABLES = """
CREATE TABLE IF NOT EXISTS backfill_done (
    run bytea NOT NULL,
    symbol text NOT NULL,
    day date NOT NULL,
    rows bigint NOT NULL,
    done_at timestamptz NOT NULL,
    PRIMARY KEY (run, symbol, day)
);
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('backfill_days') AND attname = 'complete' AND NOT attisdropped) THEN
        DROP TABLE backfill_days, backfill_beside;  -- from before rows said that they were recomputed: all days are to be done
    END IF;
END $$;
CREATE TABLE IF NOT EXISTS backfill_days (
    symbol text NOT NULL,
    fingerprint bytea NOT NULL,
    day date NOT NULL,
    base bytea NOT NULL,
    views text[] NOT NULL,
    begin_us bigint NOT NULL,
    end_us bigint NOT NULL,
    rows bigint NOT NULL,
    PRIMARY KEY (symbol, fingerprint)
);
CREATE TABLE IF NOT EXISTS backfill_run (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), number bigint NOT NULL)"""
_DONE = "INSERT INTO backfill_done (run, symbol, day, rows, done_at) VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
_NO_MORE = "DELETE FROM backfill_done WHERE symbol = %s AND day = %s AND run <> %s"
"""The rows of a symbol-day are those of the run that wrote them last."""
_SPOIL = """
UPDATE backfill_days SET fingerprint = decode(md5(fingerprint::text || clock_timestamp()), 'hex'), base = decode('00', 'hex')
WHERE symbol = %s AND begin_us < %s AND end_us > %s"""
"""A backfill from the tape finds that the rows of such days are no longer its own, and computes them again."""


def prepare(connection: psycopg.Connection) -> None:
    """Create the tables that are missing, as ``feast apply`` does."""
    migrate(connection, [table_of_view(view) for view in VIEWS])
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('backfill_days'))")  # two at once would both create
        connection.execute(_TABLES)


def finished(connection: psycopg.Connection, run: bytes) -> set[tuple[str, int]]:
    """Return the symbols and days (since 1970) that an earlier call of the same run has written."""
    found = connection.execute("SELECT symbol, day FROM backfill_done WHERE run = %s", (run,)).fetchall()
    return {(symbol, day_of_date(day)) for symbol, day in found}


@dataclass(slots=True)
class _Day:
    """A symbol-day: how many rows it has, and the first and the last time of each view."""

    symbol: str
    day: int
    rows: int = 0
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)


class Writer:
    """Writer of the rows of several symbols.

    ``connection`` is in autocommit mode. ``run`` is the digest of the run, its key in ``backfill_done``. Rows of the symbol-days in
    ``done`` are not written, and of the others those of ``views``. ``delay_us`` is ``created_timestamp - event_timestamp`` of every row.

    Attributes
    ----------
    made, new, skipped : int
        Rows made, those of them that were not in the tables before, and those of finished symbol-days.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        run: bytes,
        done: set[tuple[str, int]],
        delay_us: int,
        views: Sequence[View] = VIEWS,
    ) -> None:
        self.made = self.new = self.skipped = 0
        self._connection = connection
        self._recomputed = Recomputed(connection)
        self._run = run
        self._done = done
        self._delay_us = delay_us
        self._batches = {view.name: rows.Batch(view) for view in views}
        self._waiting = 0
        self._open: dict[str, _Day] = {}
        self._complete: list[_Day] = []

    def add(self, symbol: str, view: View, t_us: int, values: Vector, silent_us: int) -> None:
        """Add a row; ``silent_us`` is how long the view's feed had been silent.

        The rows of a symbol must come in order of time: a later day finishes the day before.
        """
        batch = self._batches.get(view.name)
        if batch is None:
            return
        self.made += 1
        day = t_us // DAY_US
        if (symbol, day) in self._done:
            self.skipped += 1
            return
        before = self._open.get(symbol)
        if before is None or before.day != day:
            if before is not None:
                self._complete.append(before)
            before = self._open[symbol] = _Day(symbol, day)
        before.rows += 1
        before.spans[view.name] = before.spans.get(view.name, (t_us, 0))[0], t_us
        batch.add(symbol, t_us, t_us + self._delay_us, values, silent_us)
        self._waiting += 1

    def flush(self, *, end: bool = False) -> None:
        """Collect the rows in the database, and write finished symbol-days, if there are ``ROWS`` or more, or if this is the end."""
        if end:
            self._complete += self._open.values()
            self._open.clear()
        elif self._waiting < ROWS:
            return
        for name, batch in self._batches.items():
            if len(batch):
                self._recomputed.stage(*batch.columns())
                self._batches[name] = rows.Batch(batch.view)
        self._waiting = 0
        for one in self._complete:
            self._write(one)
        self._recomputed.clear(None if end else [(one.symbol, (one.day + 1) * DAY_US) for one in self._complete])
        self._complete.clear()

    def _write(self, one: _Day) -> None:
        day = date_of_day(one.day)
        with self._recomputed.transaction(one.symbol):
            for view in VIEWS:
                if view.name in one.spans:
                    first, last = one.spans[view.name]
                    self.new += self._recomputed.replace(view, one.symbol, first, last + 1)
            firsts, lasts = zip(*one.spans.values(), strict=True)
            self._connection.execute(_SPOIL, (one.symbol, max(lasts) + 1, min(firsts)))
            self._connection.execute(_NO_MORE, (one.symbol, day, self._run))
            self._connection.execute(_DONE, (self._run, one.symbol, day, one.rows, datetime.now(UTC)))
