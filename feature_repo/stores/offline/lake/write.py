"""Closed days of an offline table, written into the lake: each day replaced by one commit, where the lake does not have it as it is.

A process that dies before the commit has changed nothing. A day that changes while it is read is written as it was in one snapshot, with
the state of that snapshot; so it counts as old, and the next look writes it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import deltalake
import psycopg
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from psycopg import sql

from feature_repo.stores.offline.binary import decode
from feature_repo.stores.offline.lake import files, marks, tables
from feature_repo.stores.offline.lake.tables import DAY
from feature_repo.stores.offline.tables.schema import Table
from transforms.times import us_of_datetime

SETTLED: Final = timedelta(minutes=1)
"""A day is closed so long after its end, by the clock of the database."""
PATIENCE_S: Final = 60.0
GAP_DAYS: Final = 31
"""Days without rows between two with rows are written down as such, where there are no more of them than this."""
KEPT_H: Final = 168
"""The files of a day that was replaced are deleted after so many hours; a reader of an older version has them meanwhile."""

_SYMBOLS: Final = """
WITH RECURSIVE symbols AS (
    (SELECT symbol FROM {table} ORDER BY symbol LIMIT 1)
    UNION ALL
    SELECT (SELECT t.symbol FROM {table} AS t WHERE t.symbol > s.symbol ORDER BY t.symbol LIMIT 1) FROM symbols AS s
    WHERE s.symbol IS NOT NULL
)"""
_LISTED: Final = f"{_SYMBOLS} SELECT symbol FROM symbols WHERE symbol IS NOT NULL"  # noqa: S608 - constants
_DAYS: Final = f"""{_SYMBOLS}, moments AS (
    SELECT symbol, (SELECT t.event_timestamp FROM {{table}} AS t WHERE t.symbol = s.symbol AND t.event_timestamp >= '0001-01-02'
        AND isfinite(t.event_timestamp) ORDER BY t.event_timestamp LIMIT 1) AS at FROM symbols AS s WHERE s.symbol IS NOT NULL
    UNION ALL
    SELECT symbol, (SELECT t.event_timestamp FROM {{table}} AS t WHERE t.symbol = m.symbol AND isfinite(t.event_timestamp)
        AND t.event_timestamp >= date_trunc('day', m.at, 'UTC') + interval '1 day' ORDER BY t.event_timestamp LIMIT 1)
    FROM moments AS m WHERE m.at IS NOT NULL
)
SELECT DISTINCT (at AT TIME ZONE 'UTC')::date AS day FROM moments WHERE at IS NOT NULL AND at < %s ORDER BY day"""  # noqa: S608
"""The days with rows: a few look-ups of the index for each symbol and day, where a scan would read all rows."""


def write(
    connection: psycopg.Connection[Any],
    lake: str,
    table: Table,
    done: Callable[[date, int], object] = lambda day, rows: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Write the closed days of a table that the lake does not have as they are.

    Parameters
    ----------
    connection : psycopg.Connection
        In autocommit mode.
    lake : str
        A folder or ``s3://bucket/prefix``.
    table : Table
        One that `tables.fits`.
    done : callable
        Called with each day that was written and how many rows it has.
    stop : callable
        Says whether to stop before the next day.

    Raises
    ------
    MarksError, OpenTransactionError, LakeError
        The message says what to do. What was written until then is in the lake.
    """
    marks.install(connection, table.name)
    now = _now(connection)
    if not marks.wait_for_writers(connection, PATIENCE_S):
        raise marks.OpenTransactionError(
            f"a transaction of before {now:%H:%M:%S} UTC still runs in the database, and may have rows of a day that is to be written; "
            "end it, or try again later"
        )
    settled = _now(connection)
    before = datetime.combine((now - SETTLED).date(), datetime.min.time(), UTC)
    target = _with_columns(tables.make_table(lake, table), lake, table)
    with _snapshot(connection):
        states = marks.states(connection, table.name)
        if states is None:
            raise marks.MarksError(f"the triggers of {table.name[-1]} are gone; try again")
        filled = [row[0] for row in connection.execute(_of(table, _DAYS), (before,)).fetchall()]
    have = tables.days(target)
    missing = [day for day in _with_gaps(filled, have) if day not in have or have[day].state != states[day]]
    empty = [day for day in missing if day not in filled]
    if empty:
        place = tables.place_of(lake, table.name[-1])
        with tables.storage(place):
            _commit(target, {day: files.save(target, place, table, day, states[day], []) for day in empty}, settled)
    for day in missing:
        if stop():
            return
        if day not in empty:
            done(day, _replace(connection, target, lake, table, day, settled))


def tidy(lake: str, table: Table) -> int:
    """Delete the files that were replaced ``KEPT_H`` hours ago or earlier; return how many."""
    target = tables.open_table(lake, table.name[-1])
    if target is None:
        return 0
    with tables.storage(tables.place_of(lake, table.name[-1])):
        return len(target.vacuum(retention_hours=KEPT_H, dry_run=False, full=True))


def _replace(
    connection: psycopg.Connection[Any],
    target: DeltaTable,
    lake: str,
    table: Table,
    day: date,
    settled: datetime,
) -> int:
    """Replace the rows of a day by those of one snapshot; return how many there are."""
    place = tables.place_of(lake, table.name[-1])
    with _snapshot(connection), tables.storage(place):
        states = marks.states(connection, table.name)
        if states is None:
            raise marks.MarksError(f"the triggers of {table.name[-1]} are gone; try again")
        file = files.save(target, place, table, day, states[day], _read(connection, table, day))
        _commit(target, {day: file}, settled)
    marks.merge(connection, table.name, [day])
    return file.rows


def _commit(target: DeltaTable, written: Mapping[date, files.Saved], settled: datetime) -> None:
    """Let a file of each day be all that the lake has of the day."""
    target.create_write_transaction(
        [file.action for file in written.values()],
        "overwrite",
        target.schema(),
        [DAY],
        partition_filters=[(DAY, "in", [day.isoformat() for day in written])],
        commit_properties=CommitProperties(app_transactions=[Transaction("settled", us_of_datetime(settled))]),
    )
    target.update_incremental()


def _with_gaps(days: Sequence[date], have: dict[date, tables.Day]) -> list[date]:
    """Return the days with rows, the short gaps between them, and those that the lake has."""
    found = {*days, *have}
    for first, second in pairwise(days):
        if (second - first).days <= GAP_DAYS + 1:
            found.update(first + timedelta(days=n) for n in range(1, (second - first).days))
    return sorted(found)


def _with_columns(target: DeltaTable, lake: str, table: Table) -> DeltaTable:
    """Return the table with the columns of new features; rows that were written before have none of them until their day is replaced."""
    present = {field.name for field in target.schema().fields}
    new = [field for field in tables.schema_of(table) if field.name not in present]
    if new:
        fields = deltalake.Schema.from_arrow(pa.schema(new)).fields
        with tables.storage(tables.place_of(lake, table.name[-1])):
            target.alter.add_columns(fields)
            target.update_incremental()
    return target


def _read(connection: psycopg.Connection[Any], table: Table, day: date) -> Iterator[pa.Table]:
    """Yield the rows of a day, sorted by symbol, event and created time: a table for each symbol that has some."""
    schema = files.schema_of(table)
    begin = datetime.combine(day, datetime.min.time(), UTC)
    columns = sql.SQL(", ").join(map(sql.Identifier, schema.names))
    head = sql.SQL("SELECT {} FROM {}").format(columns, table.identifier)
    types = [kind for _, kind in decode.describe(connection, head)]
    between = sql.SQL("event_timestamp >= {} AND event_timestamp < {}").format(begin, begin + timedelta(days=1))
    for symbol in _symbols(connection, table):
        query = sql.SQL("{} WHERE symbol = {} AND {} ORDER BY event_timestamp, created_timestamp, recomputed")
        batches = list(decode.read_columns(connection, query.format(head, symbol, between), types))
        if batches:
            every = [
                pa.chunked_array(parts).cast(field.type)
                for parts, field in zip(zip(*batches, strict=True), schema, strict=True)
            ]
            yield pa.Table.from_arrays(every, schema=schema)


def _symbols(connection: psycopg.Connection[Any], table: Table) -> list[str]:
    """Return the symbols of a table, in the order of their bytes, as readers of Parquet compare texts."""
    found = connection.execute(_of(table, _LISTED)).fetchall()
    return sorted((row[0] for row in found), key=str.encode)


def _of(table: Table, form: Any) -> sql.Composed:
    return sql.SQL(form).format(table=table.identifier)


def _now(connection: psycopg.Connection[Any]) -> datetime:
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    now: datetime = row[0] if row else datetime.now(UTC)
    return now.astimezone(UTC)


@contextmanager
def _snapshot(connection: psycopg.Connection[Any]) -> Iterator[None]:
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SET LOCAL TimeZone = 'UTC'")
        yield
