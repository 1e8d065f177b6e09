"""What Feast's offline push hands over, as rows of an offline table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.stores import encode
from feature_repo.stores.copy import append_columns
from feature_repo.stores.schema import TYPES, Table

SLICE: Final = 50_000
"""Rows of one transaction: bounded, so that a large backfill neither holds locks for long nor is undone as a whole."""

_DOUBLE, _BIGINT, _TEXT, _TIME = (TYPES[name] for name in ("Float64", "Int64", "String", "UnixTimestamp"))
_OTHERS: Final[Mapping[str, tuple[pa.DataType, str]]] = {
    TYPES["Float32"]: (pa.float32(), ">f4"),
    TYPES["Int32"]: (pa.int32(), ">i4"),
    TYPES["Bool"]: (pa.bool_(), "u1"),
}


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


def column_of(array: pa.Array, kind: str) -> encode.Column:
    """Encode one Arrow array for a column of type `kind` (a value of ``schema.TYPES``)."""
    null = _null(array)
    if kind == _DOUBLE:
        return encode.doubles(_filled(array, pa.float64(), np.nan))
    if kind == _TIME:
        return encode.times(microseconds(array), null)
    if kind == _BIGINT:
        if pa.types.is_floating(array.type):
            return encode.whole_doubles(_filled(array, pa.float64(), np.nan))
        return encode.integers(_filled(array, pa.int64(), 0), null)
    if kind in _OTHERS:
        arrow, wire = _OTHERS[kind]
        return encode.Fixed(_filled(array, arrow, 0).astype(wire), null)
    return encode.texts(array.cast(pa.string() if kind == _TEXT else pa.binary()))


def microseconds(array: pa.Array) -> NDArray[np.int64]:
    """Times as microseconds since 1970 UTC; no zone is UTC, finer digits are cut, null is 0.

    Raises
    ------
    pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError
        It is not a column of times.
    """
    if not pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp("us"))
    array = pc.floor_temporal(array, unit="microsecond") if array.type.unit == "ns" else array
    whole = array.cast(pa.timestamp("us", array.type.tz)).cast(pa.int64())
    return np.asarray(pc.fill_null(whole, 0).to_numpy(zero_copy_only=False), dtype=np.int64)


def _filled(array: pa.Array, arrow: pa.DataType, fill: float) -> NDArray[Any]:
    cast = array.cast(arrow)
    if cast.null_count:
        cast = pc.fill_null(cast, pa.scalar(bool(fill) if pa.types.is_boolean(arrow) else fill, arrow))
    return np.asarray(cast.to_numpy(zero_copy_only=False))


def _null(array: pa.Array) -> NDArray[np.bool_] | None:
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False)) if array.null_count else None


def _completed(table: Table, data: pa.Table, now: datetime) -> pa.Table:
    """`data` with a ``created_timestamp`` in every row."""
    if not table.created:
        return data
    event = microseconds(data.column(table.event).combine_chunks())
    created = np.maximum(event, int(now.timestamp()) * 1_000_000 + now.microsecond)
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
