"""Columns, of numpy or of Arrow, as the bytes of PostgreSQL's binary COPY, without a Python loop over cells.

A block of rows is built as one numpy matrix as wide as its widest row. A mask then drops the bytes that a null or a
shorter text does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.offline.binary.format import EPOCH_US, NULL_LENGTH, SIGNATURE, TRAILER
from feature_repo.stores.offline.tables.schema import TYPES
from transforms.limits import INT64_END

_BLOCK_BYTES: Final = 4 << 20

_DOUBLE, _BIGINT, _TEXT, _TIME = (TYPES[name] for name in ("Float64", "Int64", "String", "UnixTimestamp"))

_OTHERS: Final[Mapping[str, tuple[pa.DataType, str]]] = {
    TYPES["Float32"]: (pa.float32(), ">f4"),
    TYPES["Int32"]: (pa.int32(), ">i4"),
    TYPES["Bool"]: (pa.bool_(), "u1"),
}

_COLUMN_TYPES: Final[Mapping[str, Callable[[pa.DataType], bool]]] = {
    _TEXT: lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind),
    _BIGINT: pa.types.is_integer,
    TYPES["Bool"]: pa.types.is_boolean,
    _DOUBLE: pa.types.is_floating,
    _TIME: pa.types.is_timestamp,
    TYPES["Bytes"]: pa.types.is_binary,
}

_Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A column of values of one width: ``values`` (n,) of a big-endian dtype, ``null`` (n,) or None."""

    values: NDArray[Any]
    null: _Bools | None = None

    def __len__(self) -> int:
        return len(self.values)

    def dtype(self, start: int, stop: int) -> np.dtype[Any]:
        """Return the dtype that holds the widest of rows ``[start, stop)``."""
        return self.values.dtype

    def fill(self, cells: NDArray[Any], start: int, stop: int) -> NDArray[np.int32]:
        """Write rows ``[start, stop)`` into `cells`, and return the length of each in bytes."""
        cells[:] = self.values[start:stop]
        return np.full(stop - start, self.values.dtype.itemsize, np.int32)


@dataclass(frozen=True, slots=True)
class Text:
    """A column of texts or bytes: ``offsets`` (n + 1,) into ``data``, ``null`` (n,) or None."""

    offsets: NDArray[np.int64]
    data: NDArray[np.uint8]
    null: _Bools | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def dtype(self, start: int, stop: int) -> np.dtype[Any]:
        return np.dtype((np.uint8, (int(np.diff(self.offsets[start : stop + 1]).max(initial=0)),)))

    def fill(self, cells: NDArray[Any], start: int, stop: int) -> NDArray[np.int32]:
        begin = self.offsets[start:stop]
        if cells.shape[1]:
            source = begin[:, None] + np.arange(cells.shape[1])
            cells[:] = self.data[np.minimum(source, len(self.data) - 1)]
        return (self.offsets[start + 1 : stop + 1] - begin).astype(np.int32)


Column = Fixed | Text


def doubles(values: NDArray[np.float64]) -> Fixed:
    """Return a column of ``double precision``; NaN is null."""
    null = np.isnan(values)
    return Fixed(values.astype(">f8"), null if null.any() else None)


def whole_doubles(values: NDArray[np.float64]) -> Fixed:
    """Return a column of ``bigint`` from doubles; NaN is null. Raise ValueError for a fraction and beyond 64 bits."""
    null = np.isnan(values)
    filled = np.where(null, 0.0, values)
    if not np.all((np.floor(filled) == filled) & (np.abs(filled) < INT64_END)):
        raise ValueError("a count is not a whole number of 64 bits")
    return Fixed(filled.astype(">i8"), null if null.any() else None)


def times(us: NDArray[np.int64], null: _Bools | None = None) -> Fixed:
    """Return a column of ``timestamptz`` from microseconds since 1970 UTC."""
    return Fixed((us - EPOCH_US).astype(">i8"), null)


def integers(values: NDArray[np.integer[Any]], null: _Bools | None = None) -> Fixed:
    """Return a column of ``bigint``."""
    return Fixed(values.astype(">i8"), null)


def small_integers(values: NDArray[np.int64], null: _Bools | None = None) -> Fixed:
    """Return a column of ``integer``; a value beyond 32 bits is the nearest that it holds."""
    return Fixed(np.clip(values, -(2**31), 2**31 - 1).astype(">i4"), null)


def texts(values: Sequence[str] | pa.Array) -> Text:
    """Return a column of ``text``, or of ``bytea`` from an Arrow array of bytes."""
    array = values if isinstance(values, pa.Array) else pa.array(values, pa.string())
    array = array.cast(pa.large_binary())
    _, offsets, data = array.buffers()
    found = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    payload = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return Text(found, payload, null_mask(array))


def null_mask(array: pa.Array) -> _Bools | None:
    """Return which values of an Arrow array are null, or None where none is."""
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False)) if array.null_count else None


def column_type(kind: pa.DataType) -> str:
    """Return PostgreSQL's type for a column of a look-up's key or of a stored result; raise TypeError where there is none."""
    for name, matches in _COLUMN_TYPES.items():
        if matches(kind):
            return name
    raise TypeError(f"a column of type {kind} cannot be written to PostgreSQL; leave it out, or convert it to texts")


def column_of(array: pa.Array, kind: str) -> Column:
    """Encode one Arrow array for a column of type `kind` (a value of ``schema.TYPES``)."""
    null = null_mask(array)
    if kind == _DOUBLE:
        return doubles(_filled(array, pa.float64(), np.nan))
    if kind == _TIME:
        return times(microseconds(array), null)
    if kind == _BIGINT:
        if pa.types.is_floating(array.type):
            return whole_doubles(_filled(array, pa.float64(), np.nan))
        return integers(_filled(array, pa.int64(), 0), null)
    if kind in _OTHERS:
        arrow, wire = _OTHERS[kind]
        return Fixed(_filled(array, arrow, 0).astype(wire), null)
    return texts(array.cast(pa.string() if kind == _TEXT else pa.binary()))


def microseconds(array: pa.Array) -> NDArray[np.int64]:
    """Return times as microseconds since 1970 UTC. No zone is UTC, finer digits are cut, null is 0.

    Raise ``pyarrow.ArrowInvalid`` or ``ArrowNotImplementedError`` where it is not a column of times.
    """
    if not pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp("us"))
    unit = "ns" if array.type.unit == "ns" else "us"  # Arrow cuts digits a hundred times slower than numpy
    whole = pc.fill_null(array.cast(pa.timestamp(unit, array.type.tz)).cast(pa.int64()), 0)
    numbers = np.asarray(whole.to_numpy(zero_copy_only=False), dtype=np.int64)
    return numbers // 1000 if unit == "ns" else numbers


def copy_in(
    cursor: psycopg.Cursor[Any], table: sql.Identifier, columns: Sequence[Column], names: Iterable[str] = ()
) -> None:
    """Append `columns` to `table` by binary COPY: those called `names`, else all in the order of the table's."""
    listed = sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Identifier, names))) if names else sql.SQL("")
    with cursor.copy(sql.SQL("COPY {} {} FROM STDIN (FORMAT binary)").format(table, listed)) as copy:
        for block in encode(columns):
            copy.write(block)


def encode(columns: Sequence[Column]) -> Iterator[bytes]:
    """Yield `columns`, all of one length, as a whole binary COPY stream in blocks of a few megabytes."""
    n = len(columns[0])
    yield SIGNATURE
    step = max(1, _BLOCK_BYTES // _row_dtype(columns, 0, n).itemsize)
    for start in range(0, n, step):
        yield _block(columns, start, min(n, start + step))
    yield TRAILER


def _row_dtype(columns: Sequence[Column], start: int, stop: int) -> np.dtype[Any]:
    """Return the layout of the widest of rows ``[start, stop)``."""
    layout: list[Any] = [("fields", ">i2")]
    for i, column in enumerate(columns):
        layout += [(f"length{i}", ">i4"), (f"value{i}", column.dtype(start, stop))]
    return np.dtype(layout)


def _block(columns: Sequence[Column], start: int, stop: int) -> bytes:
    rows = np.zeros(stop - start, _row_dtype(columns, start, stop))
    cells = rows.view(np.uint8).reshape(len(rows), -1)
    keep: _Bools | None = None
    rows["fields"] = len(columns)
    for i, column in enumerate(columns):
        value = rows[f"value{i}"]
        lengths = written = column.fill(value, start, stop)
        if column.null is not None:
            null = column.null[start:stop]
            lengths, written = np.where(null, 0, lengths), np.where(null, NULL_LENGTH, lengths)
        rows[f"length{i}"] = written
        width = rows.dtype[f"value{i}"].itemsize
        if width and lengths.min() < width:
            keep = np.ones(cells.shape, np.bool_) if keep is None else keep
            at = rows.dtype.fields[f"value{i}"][1]
            keep[:, at : at + width] = np.arange(width) < lengths[:, None]
    return cells.tobytes() if keep is None else cells[keep].tobytes()


def _filled(array: pa.Array, arrow: pa.DataType, fill: float) -> NDArray[Any]:
    cast = array.cast(arrow)
    if cast.null_count:
        cast = pc.fill_null(cast, pa.scalar(bool(fill) if pa.types.is_boolean(arrow) else fill, arrow))
    return np.asarray(cast.to_numpy(zero_copy_only=False))
