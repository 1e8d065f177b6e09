"""The rows of a backfill from the tape in the database: whose they are, and how wrong ones are replaced.

The rule. A row's ``created_timestamp`` is its event time plus the delay of the run, so a run makes the same rows whenever it is called.
``backfill_days`` says for each day of a symbol from when to when its rows go. A row of that time with that ``created_timestamp`` is one of
the backfill, and every other row is a served one, or of another backfill, and is never changed. Rows of the backfill that are no longer
right are deleted in the transaction that writes the new ones of their time, and the new ones are added by the rule of all rows
(``feature_repo.stores.offline.facts``): a row that says the same as the stored one before it is left out. So the tables are those that one
run over everything would have made, and so are point-in-time joins.

Where another row has the very key of a row of the backfill, the backfill's is created a microsecond later, so that it counts after it.
``backfill_beside`` has the keys of these.

``backfill_run`` has the number of the newest run. Every transaction looks at it, so a run that was replaced by another one, or whose
command was killed, writes nothing more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from feature_repo.stores.errors import UserError
from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from ingest.backfill.days.plan import Plan, Record, Unit
from ingest.worker.rows import Columns
from transforms.catalog import VIEWS, View
from transforms.times import datetime_of_us, us_of_datetime

_TABLES = """
CREATE TABLE IF NOT EXISTS backfill_days (
    symbol text NOT NULL,
    fingerprint bytea NOT NULL,
    day date NOT NULL,
    base bytea NOT NULL,
    delay_us bigint NOT NULL,
    begin_us bigint NOT NULL,
    end_us bigint NOT NULL,
    rows bigint NOT NULL,
    complete boolean NOT NULL,
    PRIMARY KEY (symbol, fingerprint)
);
CREATE TABLE IF NOT EXISTS backfill_beside (
    view text NOT NULL,
    symbol text NOT NULL,
    event_timestamp timestamptz NOT NULL,
    PRIMARY KEY (view, symbol, event_timestamp)
);
CREATE TABLE IF NOT EXISTS backfill_run (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), number bigint NOT NULL)"""
_BEGIN = """
INSERT INTO backfill_run (number) VALUES (1) ON CONFLICT (only_row) DO UPDATE SET number = backfill_run.number + 1
RETURNING number"""
_LOAD = """
SELECT symbol, fingerprint, day, base, delay_us, begin_us, end_us, rows, complete FROM backfill_days
WHERE %(symbols)s::text[] IS NULL OR symbol = ANY(%(symbols)s)"""
_KEEP = """
INSERT INTO backfill_days (symbol, fingerprint, day, base, delay_us, begin_us, end_us, rows, complete)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (symbol, fingerprint) DO UPDATE
SET begin_us = excluded.begin_us, end_us = excluded.end_us, rows = excluded.rows, complete = excluded.complete"""
_DELETE = sql.SQL("""
DELETE FROM {view} AS t WHERE t.symbol = %(symbol)s AND t.event_timestamp >= %(begin)s AND t.event_timestamp < %(end)s
AND t.created_timestamp = t.event_timestamp + %(delay)s * interval '1 microsecond' + CASE WHEN EXISTS (
    SELECT FROM backfill_beside AS b WHERE b.view = %(view)s AND b.symbol = t.symbol AND b.event_timestamp = t.event_timestamp
) THEN interval '1 microsecond' ELSE interval '0' END""")
_FORGET_BESIDE = """
DELETE FROM backfill_beside WHERE symbol = %(symbol)s AND event_timestamp >= %(begin)s AND event_timestamp < %(end)s"""
_BESIDE = sql.SQL("""
SELECT found.* FROM unnest(%(symbols)s::text[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[]) AS r (symbol, first, last)
CROSS JOIN LATERAL (
    SELECT t.symbol, t.event_timestamp FROM {view} AS t
    WHERE t.symbol = r.symbol AND t.event_timestamp BETWEEN r.first AND r.last
    AND t.created_timestamp = t.event_timestamp + %(delay)s * interval '1 microsecond' OFFSET 0
) AS found""")
_KEEP_BESIDE = (
    "INSERT INTO backfill_beside SELECT %s, * FROM unnest(%s::text[], %s::timestamptz[]) ON CONFLICT DO NOTHING"
)
_NO_LIMIT = "SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)"
"""A day of a symbol in a compressed chunk has more rows than a statement may touch by default."""


class OtherRunError(UserError, RuntimeError):
    """Another backfill from the tape works on the database."""


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Create the tables that are missing."""
    migrate(connection, [table_of_view(view) for view in VIEWS])
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('backfill_days'))")  # two at once would both create
        connection.execute(_TABLES)


def begin(connection: psycopg.Connection[Any]) -> int:
    """Return the number of a new run; runs before it write nothing more."""
    row = connection.execute(_BEGIN).fetchone()
    return int(row[0]) if row else 0


def load(connection: psycopg.Connection[Any], symbols: Sequence[str] = ()) -> dict[str, dict[bytes, Record]]:
    """Return what earlier runs wrote, by symbol and fingerprint."""
    found: defaultdict[str, dict[bytes, Record]] = defaultdict(dict)
    for row in connection.execute(_LOAD, {"symbols": list(symbols) or None}):
        record = Record(*row)
        found[record.symbol][record.fingerprint] = record
    return dict(found)


class Writer:
    """Writes the rows of a task, and what is known of them, in the same transactions.

    Parameters
    ----------
    connection : psycopg.Connection
        In autocommit mode.
    run : int
        The number of the run.
    delay_us : int
        ``created_timestamp - event_timestamp`` of every row.

    Attributes
    ----------
    made, new : int
        Rows made, and those of them that were added to the tables.
    """

    def __init__(self, connection: psycopg.Connection[Any], run: int, delay_us: int) -> None:
        self.made = self.new = 0
        self._connection = connection
        self._run = run
        self._delay_us = delay_us
        self._open: dict[bytes, Record] = {}

    def write(self, parts: Sequence[tuple[Plan, Unit, Mapping[str, Columns]]], complete: Sequence[bytes] = ()) -> None:
        """Write rows of units in one transaction; those whose fingerprints are ``complete`` have no more.

        The rows of a symbol must come in order of time.
        """
        with self._connection.transaction():
            self._check_run()
            changed = [self._record(*part, complete) for part in parts]
            for (plan, _, _), new in zip(parts, changed, strict=True):
                due = [(old, min(old.end_us, new.end_us)) for old in plan.stale if old.begin_us < new.end_us]
                if due:
                    self._delete(plan, due)
            for view in VIEWS:
                columns = [of_unit[view.name] for _, _, of_unit in parts if view.name in of_unit]
                if columns:
                    self.new += self._append(view, columns)
            self._connection.cursor().executemany(_KEEP, [_values(record) for record in changed])
        for record in changed:
            self._open[record.fingerprint] = record

    def delete_parts(self, plan: Plan) -> None:
        """Delete the rows of days that a run which was stopped has not finished: they get the same fingerprints again."""
        parts = [record for record in plan.stale if not record.is_complete]
        if parts:
            with self._connection.transaction():
                self._check_run()
                self._delete(plan, [(record, record.end_us) for record in parts])

    def delete_rest(self, plan: Plan) -> None:
        """Delete what is left of the rows of a symbol that are no longer right."""
        if plan.stale:
            with self._connection.transaction():
                self._check_run()
                self._delete(plan, [(record, record.end_us) for record in plan.stale])

    def _check_run(self) -> None:
        row = self._connection.execute("SELECT number FROM backfill_run FOR SHARE").fetchone()
        if row != (self._run,):
            raise OtherRunError("another backfill from the tape was begun on this database, so this one ends")

    def _record(self, plan: Plan, unit: Unit, columns: Mapping[str, Columns], complete: Sequence[bytes]) -> Record:
        before = self._open.get(unit.fingerprint) or Record(
            plan.symbol, unit.fingerprint, unit.day, plan.base, self._delay_us, 0, 0, 0, is_complete=False
        )
        spans = [_span(part) for part in columns.values()]
        n = sum(len(part.symbols) for part in columns.values())
        self.made += n
        return replace(
            before,
            begin_us=before.begin_us or min((first for first, _ in spans), default=0),
            end_us=max([before.end_us, *(last + 1 for _, last in spans)]),
            rows=before.rows + n,
            is_complete=unit.fingerprint in complete,
        )

    def _delete(self, plan: Plan, due: Sequence[tuple[Record, int]]) -> None:
        """Delete rows of records up to a time each."""
        cursor = self._connection.cursor()
        cursor.execute(_NO_LIMIT)
        for record, until_us in due:
            begin, end = datetime_of_us(record.begin_us), datetime_of_us(until_us)
            which = {"symbol": record.symbol, "begin": begin, "end": end, "delay": record.delay_us}
            for view in VIEWS if record.begin_us < until_us else ():
                cursor.execute(_DELETE.format(view=sql.Identifier(view.name)), {**which, "view": view.name})
            cursor.execute(_FORGET_BESIDE, which)
            if until_us < record.end_us:
                record.begin_us = until_us
                cursor.execute(_KEEP, _values(record))
            else:
                key = record.symbol, record.fingerprint
                cursor.execute("DELETE FROM backfill_days WHERE symbol = %s AND fingerprint = %s", key)
                plan.stale.remove(record)

    def _append(self, view: View, columns: Sequence[Columns]) -> int:
        symbols = [symbol for part in columns for symbol in part.symbols]
        event_us = np.concatenate([part.event_us for part in columns])
        created_us = event_us + self._delay_us
        beside = self._beside(view, columns)
        if beside:
            created_us += [key in beside for key in zip(symbols, event_us.tolist(), strict=True)]
        values = np.concatenate([part.values for part in columns])
        silent_us = np.concatenate([part.silent_us for part in columns])
        return append_rows(self._connection, view, symbols, event_us, created_us, values, silent_us)

    def _beside(self, view: View, columns: Sequence[Columns]) -> set[tuple[str, int]]:
        """Return the symbols and times at which a row that is not of the backfill has the key of one, and keep them."""
        spans = [(part.symbols[0], *map(datetime_of_us, _span(part))) for part in columns]
        names, firsts, lasts = (list(column) for column in zip(*spans, strict=True))
        which = {"symbols": names, "firsts": firsts, "lasts": lasts, "delay": self._delay_us}
        found = self._connection.execute(_BESIDE.format(view=sql.Identifier(view.name)), which).fetchall()
        if found:
            keys = [list(column) for column in zip(*found, strict=True)]
            self._connection.execute(_KEEP_BESIDE, (view.name, *keys))
        return {(symbol, us_of_datetime(at)) for symbol, at in found}


def _span(columns: Columns) -> tuple[int, int]:
    """Return the first and the last event time of rows of one symbol."""
    return int(columns.event_us[0]), int(columns.event_us[-1])


def _values(record: Record) -> tuple[Any, ...]:
    about = record.symbol, record.fingerprint, record.day, record.base, record.delay_us
    return *about, record.begin_us, record.end_us, record.rows, record.is_complete
