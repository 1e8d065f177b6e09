"""Append rows to an offline table: binary COPY into a staging table, then an insert that leaves out what is there.

Rows are facts. The insert never changes one: a repeat of ``(symbol, event_timestamp, created_timestamp)`` is ignored.
It goes in the order of the unique index, so that two writers of overlapping rows wait for each other and never form a
circle; for the same reason a transaction that appends to several views should take them in the order of
``catalog.VIEWS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.offline.binary import encode
from feature_repo.stores.offline.binary.from_arrow import column_of, microseconds
from feature_repo.stores.offline.tables.schema import Table, table_of_view
from transforms import catalog
from transforms.times import us_of_datetime

SLICE: Final = 50_000
"""Rows of one transaction: bounded, so that a large backfill neither holds locks for long nor is undone as a whole."""
_STAGING: Final = sql.Identifier("pg_temp", "staged_rows")


def append_rows(
    connection: psycopg.Connection[Any],
    view: catalog.View,
    symbols: Sequence[str],
    event_us: NDArray[np.int64],
    created_us: NDArray[np.int64],
    values: NDArray[np.float64],
) -> int:
    """Append rows of a view to its offline table.

    Where the connection is in a transaction, this is part of it and the caller commits; elsewhere it is a transaction
    of its own, committed on return.

    Parameters
    ----------
    connection
        To the database whose tables ``feast apply`` made.
    view
        The table has its name and its features.
    symbols
        n symbols.
    event_us, created_us
        (n,) microseconds since 1970 UTC.
    values
        (n, k), columns in the order of ``view.names``; NaN is null; Int64 features are whole doubles.

    Returns
    -------
    int
        Rows that were not there before.

    Raises
    ------
    ValueError
        Shapes do not agree, or a count is not a whole number.
    """
    n, k = len(symbols), len(view.features)
    if event_us.shape != (n,) or created_us.shape != (n,) or values.shape != (n, k):
        shapes = f"times {event_us.shape} {created_us.shape}, values {values.shape}"
        raise ValueError(f"{view.name}: {n} symbols, {k} features, but {shapes}")
    of = {"Float64": encode.doubles, "Int64": encode.whole_doubles}
    features = [of[feature.dtype](values[:, i]) for i, feature in enumerate(view.features)]
    columns: list[encode.Column] = [encode.texts(symbols), encode.times(event_us), encode.times(created_us), *features]
    return append_columns(connection, table_of_view(view), columns)


def append_columns(connection: psycopg.Connection[Any], table: Table, columns: Sequence[encode.Column]) -> int:
    """Append encoded columns, in the order of ``table.columns``; transaction and result as in `append_rows`."""
    if not encode.length(columns):
        return 0
    names = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
                _STAGING, names, table.identifier
            )
        )
        with cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(_STAGING)) as copy:
            for block in encode.encode(columns):
                copy.write(block)
        cursor.execute(
            sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ORDER BY {} ON CONFLICT DO NOTHING").format(
                table.identifier, names, names, _STAGING, sql.SQL(", ").join(map(sql.Identifier, table.unique))
            )
        )
        inserted = cursor.rowcount
        # Dropped here already, so that a caller's longer transaction may append again.
        cursor.execute(sql.SQL("DROP TABLE {}").format(_STAGING))
    return inserted


def append_table(
    connection: psycopg.Connection[Any],
    table: Table,
    data: pa.Table,
    now: datetime,
    progress: Callable[[int], Any] | None = None,
) -> int:
    """Append an Arrow table in transactions of `SLICE` rows, each row once.

    Parameters
    ----------
    connection
        Not in a transaction, so that every slice is its own.
    table
        Where to. Columns of `data` go by name, in any order; a feature that is absent is null.
    data
        Times without a zone are UTC. NaN is null.
    now
        ``created_timestamp`` of rows that bring none, or the row's event time where that is later: a row is never
        available before it happened. Rows written twice that way are two rows.
    progress
        Called with the number of rows of each slice.

    Returns
    -------
    int
        Rows that were not there before.

    Raises
    ------
    ValueError
        A column is unknown, a key or an event time is missing or null, or values do not fit the column's type.
    """
    data = data.drop_columns([name for name in data.column_names if name.startswith("__index_level_")])
    unknown = sorted(set(data.column_names) - set(table.columns))
    required = (*table.keys, table.event)
    missing = [name for name in required if name not in data.column_names or data.column(name).null_count]
    if unknown or missing:
        raise ValueError(f"{'.'.join(table.name)}: unknown columns {unknown}, missing or null {missing}")
    inserted = 0
    for start in range(0, data.num_rows, SLICE):
        piece = data.slice(start, SLICE)
        inserted += _bounded(connection, table, _completed(table, piece, now))
        if progress is not None:
            progress(piece.num_rows)
    return inserted


def columns_of(table: Table, data: pa.Table) -> list[encode.Column]:
    """Encode the columns of `data` in the order of ``table.columns``.

    Raises
    ------
    ValueError
        Values do not fit the column's type.
    """
    encoded = []
    for name, kind in table.columns.items():
        column = data.column(name) if name in data.column_names else pa.nulls(data.num_rows)
        try:
            encoded.append(column_of(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column, kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"{'.'.join(table.name)}.{name}: {error}") from error
    return encoded


def _completed(table: Table, data: pa.Table, now: datetime) -> pa.Table:
    """`data` with a ``created_timestamp`` in every row."""
    if not table.created:
        return data
    event = microseconds(data.column(table.event).combine_chunks())
    created = np.maximum(event, us_of_datetime(now))
    if table.created not in data.column_names:
        return data.append_column(table.created, _as_times(created))
    given = data.column(table.created).combine_chunks()
    if not given.null_count:
        return data
    created = np.where(given.is_null().to_numpy(zero_copy_only=False), created, microseconds(given))
    return data.set_column(data.schema.get_field_index(table.created), table.created, _as_times(created))


def _as_times(us: NDArray[np.int64]) -> pa.Array:
    return pa.array(us, pa.int64()).cast(pa.timestamp("us", "UTC"))


def _bounded(connection: psycopg.Connection[Any], table: Table, data: pa.Table) -> int:
    """Append one slice; a slice that touches more compressed rows than TimescaleDB allows is written in halves."""
    try:
        inserted = append_columns(connection, table, columns_of(table, data))
        connection.commit()
    except psycopg.errors.ConfigurationLimitExceeded:
        connection.rollback()
        if data.num_rows == 1:
            raise
        half = data.num_rows // 2
        return _bounded(connection, table, data.slice(0, half)) + _bounded(connection, table, data.slice(half))
    return inserted
