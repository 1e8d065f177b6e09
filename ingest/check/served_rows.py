"""The served rows of symbols, held against rows that were computed from the tape.

Of several served rows of an event time the one that was created last counts, as for joins. Compared are rows by kernels of the versions
that run here; others are counted. Rows before the first or after the newest served row of a symbol and view are counted too: they were
never served or were dropped, or are on their way.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.offline.tables.schema import table_of_view
from ingest.backfill.days.follow import Followed
from ingest.check.result import Key, Result, results
from ingest.cli import ExitCode
from ingest.worker.rows import Columns
from transforms.catalog import VIEWS, View
from transforms.kernels import versions_of
from transforms.times import datetime_of_us, us_of_datetime

_NUMBER = "SELECT id FROM kernel_versions WHERE versions = %s::jsonb"
_ENDS = sql.SQL(
    "SELECT min(event_timestamp), max(event_timestamp), min(event_timestamp) FILTER (WHERE kernels IS DISTINCT FROM %s) "
    "FROM {} WHERE symbol = %s AND NOT recomputed"
)
_ROWS = sql.SQL(
    "SELECT DISTINCT ON (event_timestamp) event_timestamp, kernels, {} FROM {} "
    "WHERE symbol = %s AND event_timestamp BETWEEN %s AND %s AND NOT recomputed "
    "ORDER BY event_timestamp, created_timestamp DESC"
)


class RowName(NamedTuple):
    """Which row it is; ``t_us`` is its event time in µs."""

    view: str
    symbol: str
    t_us: int


@dataclass(slots=True)
class Served:
    """What was found.

    Attributes
    ----------
    features : dict
        One result for each feature.
    days : list of tuple of str and date
        The symbol-days that were computed.
    rows, other_kernels, outside : int
        Rows that were compared, served rows of other or unknown kernels, and rows of the tape that lie before the first served one of
        their symbol and view, or after the newest.
    missing, extra : list of RowName
        Rows that the tape gives and that are not served, and served rows that the tape does not give.
    after_others : set of str
        Symbols with a fault at or after a row of other kernels.
    holes : int
        How often the logs of these symbols had lost entries before the tape had them.
    """

    features: dict[Key, Result] = field(default_factory=results)
    days: list[tuple[str, date]] = field(default_factory=list)
    rows: int = 0
    other_kernels: int = 0
    outside: int = 0
    missing: list[RowName] = field(default_factory=list)
    extra: list[RowName] = field(default_factory=list)
    after_others: set[str] = field(default_factory=set)
    holes: int = 0

    @property
    def differing(self) -> int:
        """How many values differ."""
        return sum(result.differing for result in self.features.values())

    @property
    def exit_code(self) -> ExitCode:
        """Return NO if something differs, a row has no counterpart, or nothing was compared."""
        return ExitCode.NO if self.differing or self.missing or self.extra or not self.rows else ExitCode.DONE


class _Known(NamedTuple):
    """Of the served rows of a symbol and view: the first and the newest time, and the first one of other kernels, in µs."""

    first_us: int
    newest_us: int
    others_us: float


class ServedRows:
    """Compares rows with those in the database; ``found`` gets what is found. It writes nothing."""

    def __init__(self, connection: psycopg.Connection[Any], found: Served) -> None:
        self._connection = connection
        self._found = found
        self._numbers: dict[str, int | None] = {}
        for view in VIEWS:
            row = connection.execute(_NUMBER, (json.dumps(versions_of(view)),)).fetchone()
            self._numbers[view.name] = row[0] if row else None
        self._known: dict[tuple[str, str], _Known | None] = {}
        self._until_us: dict[str, int] = {}

    def compare(self, followed: Iterable[Followed]) -> None:
        """Compare the rows that symbols have given since the last call."""
        for one in followed:
            pending = one.take()
            made = {name: batch.columns() for name, batch in pending.batches.items() if len(batch)}
            if not made or not one.unit.is_written:
                continue
            symbol = one.plan.symbol
            first_us = self._until_us.get(symbol) or min(int(part.event_us[0]) for part in made.values())
            last_us = max(int(part.event_us[-1]) for part in made.values())
            self._until_us[symbol] = last_us + 1
            for view in VIEWS:
                if (known := self._know(view, symbol)) is None:
                    self._found.outside += len(made[view.name].symbols) if view.name in made else 0
                else:
                    self._compare(view, symbol, (first_us, last_us), made.get(view.name), known)

    def end_day(self) -> None:
        """Forget how far the rows went: the next day that is compared may be another one."""
        self._until_us.clear()

    def _know(self, view: View, symbol: str) -> _Known | None:
        """Return what the table has of a symbol; None where it has no served row."""
        key = view.name, symbol
        if key not in self._known:
            query = _ENDS.format(table_of_view(view).identifier)
            row = self._connection.execute(query, (self._numbers[view.name], symbol)).fetchone()
            self._known[key] = None
            if row is not None and row[0] is not None:
                first, newest, others = row
                others_us = math.inf if others is None else us_of_datetime(others)
                self._known[key] = _Known(us_of_datetime(first), us_of_datetime(newest), others_us)
        return self._known[key]

    def _compare(self, view: View, symbol: str, span_us: tuple[int, int], made: Columns | None, known: _Known) -> None:
        """Compare the rows of a symbol and view from the one time to the other."""
        found = self._found
        names = sql.SQL(", ").join(map(sql.Identifier, view.names))
        query = _ROWS.format(names, table_of_view(view).identifier)
        rows = self._connection.execute(query, (symbol, *map(datetime_of_us, span_us))).fetchall()
        times = np.array([us_of_datetime(at) for at, *_ in rows], np.int64)
        is_ours = np.array([number is not None and number == self._numbers[view.name] for _, number, *_ in rows], bool)
        stored = np.array([row[2:] for row in rows], np.float64).reshape(len(rows), len(view.names))  # null is NaN
        made_us = np.empty(0, np.int64) if made is None else made.event_us
        is_inside = (made_us >= known.first_us) & (made_us <= known.newest_us)
        found.outside += int((~is_inside).sum())
        found.other_kernels += int((~is_ours).sum())
        missing = np.setdiff1d(made_us[is_inside], times)
        extra = np.setdiff1d(times[is_ours], made_us)
        found.missing += [RowName(view.name, symbol, t_us) for t_us in missing.tolist()]
        found.extra += [RowName(view.name, symbol, t_us) for t_us in extra.tolist()]
        faults_us = [*missing.tolist(), *extra.tolist()]
        if made is not None:
            both, of_stored, of_made = np.intersect1d(times[is_ours], made_us, return_indices=True)
            found.rows += len(both)
            expected, got = made.values[of_made], stored[is_ours][of_stored]
            faults_us += add(found.features, view, symbol, both, expected, got)
        if max(faults_us, default=-math.inf) >= known.others_us:
            found.after_others.add(symbol)


def add(
    features: dict[Key, Result],
    view: View,
    symbol: str,
    times_us: NDArray[np.int64],
    expected: NDArray[np.float64],
    found: NDArray[np.float64],
) -> Sequence[int]:
    """Compare rows of a view by the bits of their values, null with null; return the times of those that differ."""
    is_null = np.isnan(expected)
    same_bits = np.ascontiguousarray(expected).view(np.int64) == np.ascontiguousarray(found).view(np.int64)
    differs = ~np.where(is_null, np.isnan(found), same_bits)
    for i, name in enumerate(view.names):
        result = features[view.name, name]
        result.compared += len(times_us)
        result.values += int((~is_null[:, i]).sum())
        for at in np.flatnonzero(differs[:, i]).tolist():
            result.add(symbol, int(times_us[at]), float(expected[at, i]), float(found[at, i]))
            result.compared -= 1  # counted above, as its value
            result.values -= bool(~is_null[at, i])
    times: list[int] = times_us[differs.any(axis=1)].tolist()
    return times
