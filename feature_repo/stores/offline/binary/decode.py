"""The rows of PostgreSQL's binary COPY as Arrow columns, without a Python loop over cells.

A row arrives as one message: ``int16 number of fields`` and, for each, ``int32 length`` (-1 for null) and the bytes. The
messages are joined, and one vector of positions, a row each, is walked through the fields: each step reads a column of
all rows at once.

Source: PostgreSQL documentation, COPY, "Binary Format".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.offline.binary.encode import EPOCH_US, SIGNATURE, TRAILER

_TIME: Final = pa.timestamp("us")
_DAY_US: Final = 86_400_000_000

WIDE: Final[dict[int, tuple[str, pa.DataType]]] = {
    16: ("u1", pa.bool_()),
    20: (">i8", pa.int64()),
    21: (">i2", pa.int32()),
    23: (">i4", pa.int32()),
    700: (">f4", pa.float32()),
    701: (">f8", pa.float64()),
    1082: (">i4", _TIME),  # date
    1114: (">i8", _TIME),  # timestamp
    1184: (">i8", _TIME),  # timestamptz
}
"""Types of one width by their object id: the wire's form, and the Arrow type that Feast gives them (times are UTC)."""

LONG: Final[dict[int, pa.DataType]] = {17: pa.binary(), 25: pa.string(), 1042: pa.string(), 1043: pa.string()}
"""Texts and bytes."""

CAST: Final[dict[int, str]] = {1700: "double precision", 2950: "text"}
"""Types that are converted by the server before they are sent: numeric and uuid."""

BATCH: Final = 65_536
"""Rows decoded at a time."""


class UnsupportedTypeError(TypeError):
    """A column has a type that is not decoded here."""


def describe(connection: psycopg.Connection[Any], query: sql.Composable) -> list[tuple[str, int]]:
    """Names and type ids of a query's columns; nothing is read."""
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT * FROM ({}) AS described LIMIT 0").format(query))
        return [(column.name, column.type_code) for column in cursor.description or ()]


def read_table(connection: psycopg.Connection[Any], query: sql.Composable) -> pa.Table:
    """Run a query and return all of it.

    Raises
    ------
    UnsupportedTypeError
        A column is neither a number, a text, a time, a boolean nor bytes.
    """
    described = describe(connection, query)
    names, types = [name for name, _ in described], [CAST_TO.get(kind, kind) for _, kind in described]
    if len(set(names)) != len(names):
        raise UnsupportedTypeError("a query gives two columns of one name")
    selected = [
        sql.SQL("{}::{}").format(sql.Identifier(name), sql.SQL(CAST[kind])) if kind in CAST else sql.Identifier(name)
        for name, kind in described
    ]
    if any(kind in CAST for _, kind in described):
        query = sql.SQL("SELECT {} FROM ({}) AS given").format(sql.SQL(", ").join(selected), query)
    batches = list(read(connection, query, types))
    columns = [pa.chunked_array([batch[i] for batch in batches], arrow_type(kind)) for i, kind in enumerate(types)]
    return pa.table(columns, names=names)


def read(connection: psycopg.Connection[Any], query: sql.Composable, types: Sequence[int]) -> Iterator[list[pa.Array]]:
    """Run a query whose column types are known, and yield its columns, `BATCH` rows at a time."""
    for rows in _batches(connection, query):
        yield columns(rows, types)


def _batches(connection: psycopg.Connection[Any], query: sql.Composable) -> Iterator[list[bytes]]:
    rows: list[bytes] = []
    skip = len(SIGNATURE)
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(query)) as copy,
    ):
        take = connection.pgconn.get_copy_data
        while message := copy.read():
            # Bytes, not views: Python's collector looks at a view, and at 65,536 of them again and again.
            row, skip = bytes(message)[skip:], 0
            while len(row) > len(TRAILER):
                rows.append(row)
                if len(rows) == BATCH:
                    yield rows
                    rows = []
                # What has arrived is taken at once; `read` waits for more, and for the end after the trailer.
                size, message = take(1)
                if not size:
                    break
                row = bytes(message)
    if rows:
        yield rows


def arrow_type(kind: int) -> pa.DataType:
    """Arrow type of a PostgreSQL type id.

    Raises
    ------
    UnsupportedTypeError
        It has none here.
    """
    if kind in WIDE:
        return WIDE[kind][1]
    if kind in LONG:
        return LONG[kind]
    raise UnsupportedTypeError(f"PostgreSQL type {kind} is not decoded")


def columns(rows: Sequence[bytes | memoryview], types: Sequence[int]) -> list[pa.Array]:
    """Decode rows of the binary format (without signature and trailer).

    Parameters
    ----------
    rows
        One message a row.
    types
        Type id of each field.

    Raises
    ------
    UnsupportedTypeError
        A type is not decoded here.
    OverflowError
        A time is infinite.
    """
    # Eight spare bytes: a null at the very end is read like a value, then masked.
    data = b"".join((*rows, bytes(8)))
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    at = np.cumsum(lengths) - lengths + 2
    sizes = _anywhere(data, ">i4")
    decoded = []
    for kind in types:
        target = arrow_type(kind)
        size = sizes[at].astype(np.int64)
        at = at + 4
        null = size < 0
        missing = null if null.any() else None
        size = np.maximum(size, 0)
        if kind in WIDE:
            decoded.append(_fixed(_anywhere(data, WIDE[kind][0])[at], missing, kind, target))
        else:
            decoded.append(_long(data, at, size, missing, target))
        at = at + size
    return decoded


CAST_TO: Final[dict[int, int]] = {1700: 701, 2950: 25}
"""Type ids after `CAST`."""


def _anywhere(data: bytes, dtype: str) -> NDArray[Any]:
    """Every byte position of `data` read as `dtype`."""
    width = np.dtype(dtype).itemsize
    return np.ndarray((len(data) - width + 1,), dtype, data, strides=(1,))


def _fixed(wire: NDArray[Any], missing: NDArray[np.bool_] | None, kind: int, target: pa.DataType) -> pa.Array:
    values = wire.astype(wire.dtype.newbyteorder("="))
    if target != _TIME:
        return pa.array(values.astype(np.bool_) if kind == 16 else values, target, mask=missing)
    bounds = np.iinfo(values.dtype)
    endless = (values == bounds.min) | (values == bounds.max)
    if (endless & ~missing if missing is not None else endless).any():
        raise OverflowError("a time is infinite")
    if missing is not None:
        values = np.where(missing, 0, values)
    us = values.astype(np.int64) * (_DAY_US if kind == 1082 else 1) + EPOCH_US
    return pa.array(us, pa.int64(), mask=missing).cast(target)


def _long(
    data: bytes, at: NDArray[np.int64], size: NDArray[np.int64], missing: NDArray[np.bool_] | None, target: pa.DataType
) -> pa.Array:
    ends = np.cumsum(size)
    source = np.repeat(at - (ends - size), size) + np.arange(ends[-1] if len(ends) else 0)
    payload = np.frombuffer(data, np.uint8)[source]
    offsets = np.concatenate(([0], ends)).astype(np.int32)
    valid = None if missing is None else pa.array(~missing).buffers()[1]
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(payload)]
    return pa.Array.from_buffers(target, len(at), buffers)
