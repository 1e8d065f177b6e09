"""What a backfill from the tape wrote, in the database, and how rows that are no longer right are replaced.

``backfill_days`` says for each day of a symbol which views were written, and from when to when the rows of all views go. The recomputed
rows of that time are those of the day (``feature_repo.stores.offline.recomputed``). A day is written in one transaction: its rows take the
place of the recomputed ones of its time, rows of days that are no longer right are deleted up to its end, and the record is kept. So the
recomputed rows are those that one run over everything would have made, and so are point-in-time joins. Served rows are never touched.

``backfill_run`` has the number of the newest run. Every transaction looks at it, so a run that was replaced by another one, or whose
command was killed, writes nothing more.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg

from feature_repo.stores.errors import UserError
from feature_repo.stores.offline.recomputed import Recomputed
from ingest.backfill.days.plan import Plan, Record, Unit
from ingest.worker.rows import Columns
from transforms.catalog import CONTEXT, VIEWS, View
from transforms.times import datetime_of_us

_BEGIN = """
INSERT INTO backfill_run (number) VALUES (1) ON CONFLICT (only_row) DO UPDATE SET number = backfill_run.number + 1
RETURNING number"""
_LOAD = """
SELECT symbol, fingerprint, day, base, views, begin_us, end_us, rows FROM backfill_days
WHERE %(symbols)s::text[] IS NULL OR symbol = ANY(%(symbols)s)"""
_KEEP = """
INSERT INTO backfill_days AS d (symbol, fingerprint, day, base, views, begin_us, end_us, rows)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (symbol, fingerprint) DO UPDATE
SET views = ARRAY(SELECT unnest(d.views) UNION SELECT unnest(excluded.views) ORDER BY 1), begin_us = excluded.begin_us"""
_FORGET = "DELETE FROM backfill_days WHERE symbol = %s AND fingerprint = %s"
_LEAVE = "UPDATE backfill_days SET views = %s WHERE symbol = %s AND fingerprint = %s"
_FILES = "DELETE FROM backfill_done WHERE symbol = %s AND day BETWEEN %s AND %s"
"""A backfill of files finds that the rows of such days are no longer its own, and writes them again."""


class OtherRunError(UserError, RuntimeError):
    """Another backfill from the tape works on the database."""


def begin(connection: psycopg.Connection[Any]) -> int:
    """Return the number of a new run; runs before it write nothing more."""
    row = connection.execute(_BEGIN).fetchone()
    return int(row[0]) if row else 0


def load(connection: psycopg.Connection[Any], symbols: Sequence[str] = ()) -> dict[str, dict[bytes, Record]]:
    """Return what earlier runs wrote, by symbol and fingerprint."""
    found: defaultdict[str, dict[bytes, Record]] = defaultdict(dict)
    for symbol, fingerprint, day, base, views, *rest in connection.execute(_LOAD, {"symbols": list(symbols) or None}):
        found[symbol][fingerprint] = Record(symbol, fingerprint, day, base, frozenset(views), *rest)
    return dict(found)


class Writer:
    """Writes the rows of a task, a day of a symbol at a time, and what is known of them in the same transaction.

    Parameters
    ----------
    connection : psycopg.Connection
        In autocommit mode.
    run : int
        The number of the run.
    delay_us : int
        ``created_timestamp - event_timestamp`` of every row.
    views : sequence of View
        Those that are written.

    Attributes
    ----------
    made, new : int
        Rows made, and those of them that were not in the tables before.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], run: int, delay_us: int, views: Sequence[View] = VIEWS
    ) -> None:
        self.made = self.new = 0
        self._connection = connection
        self._recomputed = Recomputed(connection)
        self._run = run
        self._delay_us = delay_us
        self._views = views
        self._names = frozenset(view.name for view in views)
        self._open: dict[bytes, Record] = {}
        self._context: dict[bytes, tuple[int, int]] = {}

    def begin(self, plan: Plan) -> None:
        """Part the records of rows that are no longer right, where some of their views are not written now: these keep them."""
        for i, record in enumerate(plan.stale):
            if others := record.views - self._names:
                views = record.views & self._names
                name = hashlib.blake2b(record.fingerprint + repr(sorted(views)).encode(), digest_size=16).digest()
                plan.stale[i] = replace(record, fingerprint=name, views=views)
                with self._connection.transaction():
                    self._check_run()
                    self._connection.execute(_LEAVE, (sorted(others), record.symbol, record.fingerprint))
                    self._connection.execute(_KEEP, _values(plan.stale[i]))

    def collect(self, plan: Plan, unit: Unit, columns: Mapping[str, Columns]) -> None:
        """Collect rows of a unit, which must come in order of time.

        The span of the unit is not that of ``context``: a row of that view waits for neighbours, and may come a day after the others of its
        time, which belong to the unit before.
        """
        self._check_run()
        before = self._open.get(unit.fingerprint) or Record(
            plan.symbol, unit.fingerprint, unit.day, plan.base, self._names, 0, 0, 0
        )
        if CONTEXT.name in columns:
            first_us, last_us = _span(columns[CONTEXT.name])
            self._context[unit.fingerprint] = self._context.get(unit.fingerprint, (first_us, 0))[0], last_us + 1
        spans = [_span(part) for name, part in columns.items() if name != CONTEXT.name]
        self._open[unit.fingerprint] = replace(
            before,
            begin_us=before.begin_us or min((first for first, _ in spans), default=0),
            end_us=max([before.end_us, *(last + 1 for _, last in spans)]),
            rows=before.rows + sum(len(part.symbols) for part in columns.values()),
        )
        for view in self._views:
            if view.name in columns:
                part = columns[view.name]
                self.made += len(part.symbols)
                self._recomputed.stage(*part._replace(created_us=part.event_us + self._delay_us))

    def write(self, plan: Plan, unit: Unit) -> None:
        """Write a unit all of whose rows are collected."""
        new = self._open.pop(unit.fingerprint)
        begin_us, end_us = self._context.pop(unit.fingerprint, (new.begin_us, new.end_us))
        if not new.end_us:  # no other row
            new = replace(new, begin_us=begin_us, end_us=end_us)
        with self._recomputed.transaction(plan.symbol):
            self._check_run()
            for old in [old for old in plan.stale if old.begin_us < new.end_us]:
                self._delete(plan, old, min(old.end_us, new.end_us), new.begin_us)
            if new.rows:
                for view in self._views:
                    first_us = min(begin_us, new.begin_us) if view is CONTEXT else new.begin_us
                    self.new += self._recomputed.replace(view, plan.symbol, first_us, max(new.end_us, end_us))
                days = [datetime_of_us(us).date() for us in (new.begin_us, new.end_us)]
                self._connection.execute(_FILES, (plan.symbol, *days))
            self._connection.execute(_KEEP, _values(new))

    def clear(self) -> None:
        """Drop what was collected of units that are written."""
        self._recomputed.clear()

    def delete_rest(self, plan: Plan) -> None:
        """Delete what is left of the rows of a symbol that are no longer right."""
        if plan.stale:
            with self._recomputed.transaction(plan.symbol):
                self._check_run()
                for old in list(plan.stale):
                    self._delete(plan, old, old.end_us, old.end_us)

    def _check_run(self) -> None:
        row = self._connection.execute("SELECT number FROM backfill_run FOR SHARE").fetchone()
        if row != (self._run,):
            raise OtherRunError("another backfill from the tape was begun on this database, so this one ends")

    def _delete(self, plan: Plan, old: Record, until_us: int, new_us: int) -> None:
        """Forget a record up to a time, and delete its rows up to there; those from ``new_us`` on are replaced by new ones."""
        if old.begin_us < min(until_us, new_us):
            for view in self._views:
                if view.name in old.views:
                    self._recomputed.delete(view, old.symbol, old.begin_us, min(until_us, new_us))
        if until_us < old.end_us:
            old.begin_us = until_us
            self._connection.execute(_KEEP, _values(old))
        else:
            self._connection.execute(_FORGET, (old.symbol, old.fingerprint))
            plan.stale.remove(old)


def _span(columns: Columns) -> tuple[int, int]:
    """Return the first and the last event time of rows of one symbol."""
    return int(columns.event_us[0]), int(columns.event_us[-1])


def _values(record: Record) -> tuple[Any, ...]:
    about = record.symbol, record.fingerprint, record.day, record.base, sorted(record.views)
    return *about, record.begin_us, record.end_us, record.rows
