"""Columns as the bytes of PostgreSQL's binary COPY, without a Python loop over cells.

A row of the format is ``int16 number of fields`` and, for each, ``int32 length`` (-1 for null) and the bytes, all
big-endian. A block of rows is built as one numpy matrix as wide as its widest row; a mask then drops the bytes that a
null or a shorter text does not have.

Source: PostgreSQL documentation, COPY, "Binary Format".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SIGNATURE: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER: Final = b"\xff\xff"
EPOCH_US: Final = 946_684_800_000_000
"""2000-01-01 UTC, where PostgreSQL's time begins, in microseconds of ours."""

_BLOCK_BYTES: Final = 4 << 20

_Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A column of values of one width: ``values`` (n,) of a big-endian dtype, ``null`` (n,) or None."""

    values: NDArray[Any]
    null: _Bools | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A column of texts or bytes: ``offsets`` (n + 1,) into ``data``, ``null`` (n,) or None."""

    offsets: NDArray[np.int64]
    data: NDArray[np.uint8]
    null: _Bools | None = None


Column = Fixed | Text


def doubles(values: NDArray[np.float64]) -> Fixed:
    """``double precision``; NaN is null."""
    null = np.isnan(values)
    return Fixed(values.astype(">f8"), null if null.any() else None)


def whole_doubles(values: NDArray[np.float64]) -> Fixed:
    """``bigint`` from whole doubles; NaN is null.

    Raises
    ------
    ValueError
        A value is not whole, or is outside of 64 bits.
    """
    null = np.isnan(values)
    filled = np.where(null, 0.0, values)
    if not np.all((np.floor(filled) == filled) & (np.abs(filled) < 2.0**63)):
        raise ValueError("a count is not a whole number of 64 bits")
    return Fixed(filled.astype(">i8"), null if null.any() else None)


def times(us: NDArray[np.int64], null: _Bools | None = None) -> Fixed:
    """``timestamptz`` from microseconds since 1970 UTC."""
    return Fixed((us - EPOCH_US).astype(">i8"), null)


def integers(values: NDArray[np.integer[Any]], null: _Bools | None = None) -> Fixed:
    """``bigint``."""
    return Fixed(values.astype(">i8"), null)


def texts(values: Sequence[str] | pa.Array) -> Text:
    """``text`` (or ``bytea``, from an Arrow array of bytes)."""
    array = values if isinstance(values, pa.Array) else pa.array(values, pa.string())
    array = array.cast(pa.large_binary())
    _, offsets, data = array.buffers()
    found = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    payload = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return Text(found, payload, _nulls(array))


def length(columns: Sequence[Column]) -> int:
    """Number of rows."""
    first = columns[0]
    return len(first.values) if isinstance(first, Fixed) else len(first.offsets) - 1


def encode(columns: Sequence[Column]) -> Iterator[bytes]:
    """The columns as a whole binary COPY stream, in blocks of a few megabytes.

    Parameters
    ----------
    columns
        Of equal length, in the order of the COPY statement.
    """
    n = length(columns)
    yield SIGNATURE
    widest = 2 + sum(4 + _width(column, 0, n) for column in columns)
    step = max(1, _BLOCK_BYTES // widest)
    for start in range(0, n, step):
        yield _block(columns, start, min(n, start + step))
    yield TRAILER


def _block(columns: Sequence[Column], start: int, stop: int) -> bytes:
    n = stop - start
    layout: list[Any] = [("fields", ">i2")]
    for i, column in enumerate(columns):
        layout.append((f"l{i}", ">i4"))
        layout.append(
            (f"d{i}", column.values.dtype)
            if isinstance(column, Fixed)
            else (f"d{i}", "u1", (_width(column, start, stop),))
        )
    rows = np.zeros(n, np.dtype(layout))
    cells = rows.view(np.uint8).reshape(n, -1)
    keep: _Bools | None = None
    rows["fields"] = len(columns)
    for i, column in enumerate(columns):
        width = rows.dtype[f"d{i}"].itemsize
        at = rows.dtype.fields[f"d{i}"][1]  # type: ignore[index]
        if isinstance(column, Fixed):
            rows[f"d{i}"] = column.values[start:stop]
            lengths = np.full(n, width, np.int32)
        else:
            begin = column.offsets[start:stop]
            lengths = (column.offsets[start + 1 : stop + 1] - begin).astype(np.int32)
            if width:
                source = begin[:, None] + np.arange(width)
                rows[f"d{i}"] = column.data[np.minimum(source, len(column.data) - 1)]
        written = lengths
        if column.null is not None:
            null = column.null[start:stop]
            lengths = np.where(null, 0, lengths).astype(np.int32)
            written = np.where(null, -1, lengths).astype(np.int32)
        rows[f"l{i}"] = written
        if width and lengths.min() < width:
            keep = np.ones(cells.shape, np.bool_) if keep is None else keep
            keep[:, at : at + width] = np.arange(width) < lengths[:, None]
    return cells.tobytes() if keep is None else cells[keep].tobytes()


def _width(column: Column, start: int, stop: int) -> int:
    if isinstance(column, Fixed):
        return int(column.values.dtype.itemsize)
    return int(np.diff(column.offsets[start : stop + 1]).max(initial=0))


def _nulls(array: pa.Array) -> _Bools | None:
    if not array.null_count:
        return None
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)
