"""The offline rows behind what was served: that of the same event time, and one that should have been served in its place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
import pyarrow as pa
from psycopg import sql

from feature_repo.stores.offline.tables.schema import SILENCE, table_of_view
from ingest.check.consistency import SKEW_US
from transforms.catalog import View
from transforms.kernels import versions_of
from transforms.times import datetime_of_us, us_of_datetime

_NUMBER = "SELECT id FROM kernel_versions WHERE versions = %s::jsonb"
# Of several rows of an event time: the one that was created when the served one was; else a row that a worker made and not a backfill; of
# these the newest that was there then, because a row that says again what the one before it said is not stored.
_ROW = sql.SQL(
    "SELECT s.i, r.created_timestamp, r.kernels, r.recomputed, r.{silence}, {names} "
    "FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) WITH ORDINALITY AS s(symbol, t, known, i) "
    "CROSS JOIN LATERAL (SELECT * FROM {table} r WHERE r.symbol = s.symbol AND r.event_timestamp = s.t ORDER BY "
    "(r.created_timestamp = s.known) DESC, r.recomputed, (r.created_timestamp <= s.known) DESC, "
    "abs(extract(epoch FROM r.created_timestamp - s.known)) LIMIT 1) r"
)
_NEWER = sql.SQL(
    "SELECT s.i, r.event_timestamp "
    "FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[]) "
    "WITH ORDINALITY AS s(symbol, after, until, fresh, i) "
    "CROSS JOIN LATERAL (SELECT event_timestamp, {silence} FROM {table} r WHERE r.symbol = s.symbol "
    "AND r.event_timestamp > s.after AND r.event_timestamp <= s.until AND r.created_timestamp <= s.until AND NOT r.recomputed "
    "ORDER BY r.event_timestamp DESC LIMIT 1) r "
    "WHERE r.event_timestamp - coalesce(r.{silence}, 0) * interval '1 ms' >= s.fresh"
)
_FOREVER_S = 100 * 365 * 86_400


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the log: what one read was served of one entity and view. Times are microseconds.

    Attributes
    ----------
    event_us, created_us : int or None
        None where no row was found, and where the row did not say when it was created.
    values : list
        None is null.
    others : dict
        By feature, bytes of Feast's ``Value`` that no double says.
    """

    symbol: str
    at_us: int
    status: str
    event_us: int | None
    created_us: int | None
    features: tuple[str, ...]
    values: list[float | None]
    others: dict[str, bytes]


class Stored(NamedTuple):
    """An offline row."""

    created_us: int
    heard_us: int  # when the feed had last been heard
    is_recomputed: bool
    is_ours: bool  # made by kernels of the versions that run here
    values: dict[str, Any]


def entries(batch: pa.RecordBatch) -> Iterable[tuple[str, str, Entry]]:
    """Yield the rows of a batch of the log, each with its view and its join key."""
    # Times stay numbers, because a datetime cannot hold what a stranger may write.
    times = ("time", "event_timestamp", "created_timestamp")
    columns = {
        name: (batch[name].cast(pa.int64()) if name in times else batch[name]).to_pylist()
        for name in batch.schema.names
        if name != "service"
    }
    for row in zip(*columns.values(), strict=True):
        of = dict(zip(columns, row, strict=True))
        yield (
            of["view"],
            of["join_key"],
            Entry(
                of["entity"],
                of["time"],
                of["status"],
                of["event_timestamp"],
                of["created_timestamp"],
                tuple(of["features"]),
                of["values"],
                {other["feature"]: other["value"] for other in of["others"] or ()},
            ),
        )


class OfflineRows:
    """Looks up the rows of one view."""

    def __init__(self, connection: psycopg.Connection[Any], view: View) -> None:
        self._connection, self._view = connection, view
        self._ttl_us = (view.ttl_s or _FOREVER_S) * 1_000_000
        names = sql.SQL(", ").join(sql.Identifier("r", name) for name in view.names)
        parts = {"names": names, "table": table_of_view(view).identifier, "silence": sql.Identifier(SILENCE)}
        self._row, self._newer = _ROW.format(**parts), _NEWER.format(**parts)
        found = connection.execute(_NUMBER, (json.dumps(versions_of(view)),)).fetchone()
        self._ours = found[0] if found else None

    def is_fresh(self, entry: Entry, stored: Stored) -> bool:
        """Return whether a row was to be served at the time of a read, by its age then."""
        return stored.heard_us >= entry.at_us - self._ttl_us

    def of(self, some: Sequence[Entry]) -> list[Stored | None]:
        """Return the offline row of the symbol and event time of each entry."""
        keys: dict[tuple[Any, ...], int] = {}  # a row is served many times
        for one in some:
            if (key := _key(one)) is not None:
                keys.setdefault(key, len(keys))
        found: dict[int, Stored] = {}
        if keys:
            columns = [list(column) for column in zip(*keys, strict=True)]
            for i, created, kernels, is_recomputed, silent_ms, *values in self._connection.execute(self._row, columns):
                event_us = us_of_datetime(columns[1][i - 1])
                found[i - 1] = Stored(
                    us_of_datetime(created),
                    event_us - (silent_ms or 0) * 1_000,
                    is_recomputed,
                    kernels is not None and kernels == self._ours,
                    dict(zip(self._view.names, values, strict=True)),
                )
        return [None if (key := _key(one)) is None else found.get(keys[key]) for one in some]

    def newer(self, some: Sequence[Entry], lag_us: int) -> dict[int, int]:
        """Return by place the event times of rows that were stored `lag_us` before a read, still fresh, and newer than what it got."""
        asked, places = [], []
        for place, one in enumerate(some):
            fresh_us = one.at_us - self._ttl_us
            after_us = fresh_us - 1 if one.event_us is None else max(one.event_us, fresh_us - 1)
            times = [_moment(us) for us in (after_us, one.at_us - lag_us, fresh_us)]
            if _can_be_stored(one.symbol) and None not in times:
                asked.append((one.symbol, *times))
                places.append(place)
        if not asked:
            return {}
        columns = [list(column) for column in zip(*asked, strict=True)]
        found = self._connection.execute(self._newer, columns)
        return {places[i - 1]: us_of_datetime(event) for i, event in found}


def _key(entry: Entry) -> tuple[Any, ...] | None:
    """Return what a row is looked up by: symbol, event time, and by when it was created; None if no table can hold such a row."""
    event = None if entry.event_us is None else _moment(entry.event_us)
    known = None if entry.created_us is None else _moment(entry.created_us)
    known = known or _moment(entry.at_us + SKEW_US)
    return (entry.symbol, event, known) if event and known and _can_be_stored(entry.symbol) else None


def _can_be_stored(symbol: str) -> bool:
    return "\0" not in symbol


def _moment(us: int) -> Any:
    """Return a time that Python and the database can hold, else None."""
    try:
        return datetime_of_us(us) if us > -62_000_000_000_000_000 else None  # of year 5 or later
    except OverflowError:
        return None
