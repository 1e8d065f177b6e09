"""One column of the binary COPY format, whose cells stand anywhere in a block of bytes, as an Arrow array.

Scalars of one width are read by their positions at once. An array is its elements, each behind its length: where all have
one width and none is null their positions are known, else one step finds the next element of all rows.

Source: PostgreSQL's ``array_send``: ``int32`` dimensions, flags (1: has nulls), element type, then length and lower bound
of each dimension, then the elements.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.stores.errors import UserError
from feature_repo.stores.offline.binary import format as wire

_Ints = NDArray[np.int64]
_Bools = NDArray[np.bool_]

_TIME: Final = pa.timestamp("us")
_DAY_US: Final = 86_400_000_000

_SCALARS: Final[dict[int, tuple[str, pa.DataType]]] = {
    wire.BOOL: ("u1", pa.bool_()),
    wire.INT8: (">i8", pa.int64()),
    wire.INT2: (">i2", pa.int32()),
    wire.INT4: (">i4", pa.int32()),
    wire.FLOAT4: (">f4", pa.float32()),
    wire.FLOAT8: (">f8", pa.float64()),
    wire.DATE: (">i4", _TIME),
    wire.TIMESTAMP: (">i8", _TIME),
    wire.TIMESTAMPTZ: (">i8", _TIME),
    wire.BYTEA: ("", pa.binary()),
    wire.TEXT: ("", pa.string()),
    wire.BPCHAR: ("", pa.string()),
    wire.VARCHAR: ("", pa.string()),
}
"""The dtype on the wire, empty where the width varies, and the Arrow type that Feast gives (times are UTC)."""

_ELEMENT: Final = {wire.ARRAY_OF[kind]: kind for kind in _SCALARS}

_SENT: Final = {wire.NUMERIC: wire.FLOAT8, wire.UUID: wire.TEXT, wire.JSON: wire.TEXT, wire.JSONB: wire.TEXT}
_NAMES: Final = {wire.FLOAT8: "double precision", wire.TEXT: "text"}

CASTS: Final[dict[int, tuple[str, int]]] = {
    **{kind: (_NAMES[sent], sent) for kind, sent in _SENT.items()},
    **{wire.ARRAY_OF[kind]: (f"{_NAMES[sent]}[]", wire.ARRAY_OF[sent]) for kind, sent in _SENT.items()},
}
"""Types that the server converts before it sends them: name and id of what they become."""

_FLAGS_AT: Final = 4
_COUNT_AT: Final = 12
_ELEMENTS_AT: Final = 20


class UnsupportedTypeError(UserError, TypeError):
    """A column has a type, or an array a shape, that is not decoded here."""


def is_decoded(kind: int) -> bool:
    """Return whether a PostgreSQL type id is decoded."""
    return kind in _SCALARS or kind in _ELEMENT


def arrow_type(kind: int) -> pa.DataType:
    """Return the Arrow type of a PostgreSQL type id, or raise `UnsupportedTypeError`."""
    if kind in _ELEMENT:
        return pa.list_(_SCALARS[_ELEMENT[kind]][1])
    if kind not in _SCALARS:
        raise UnsupportedTypeError(f"PostgreSQL type {kind} is not decoded")
    return _SCALARS[kind][1]


def at_every_byte(data: bytes | pa.Buffer, dtype: str) -> NDArray[Any]:
    """Return a view of `data` whose element i is the `dtype` that begins at byte i."""
    width = np.dtype(dtype).itemsize
    return np.ndarray((len(data) - width + 1,), dtype, data, strides=(1,))


def column(data: bytes, at: _Ints, size: _Ints, missing: _Bools | None, kind: int) -> pa.Array:
    """Return the cells of a type that begin at the bytes `at` and have `size` bytes; null where `missing`.

    `data` ends in eight spare bytes: a null at the very end is read like a value, then masked.
    """
    arrow = arrow_type(kind)
    if kind in _ELEMENT:
        return _arrays(data, at, missing, _ELEMENT[kind])
    dtype = _SCALARS[kind][0]
    if dtype:
        return _fixed(at_every_byte(data, dtype)[at], missing, kind, arrow)
    return _variable(data, at, size, missing, arrow)


def _fixed(cells: NDArray[Any], missing: _Bools | None, kind: int, target: pa.DataType) -> pa.Array:
    values = cells.astype(cells.dtype.newbyteorder("="))
    if target != _TIME:
        return pa.array(values.astype(np.bool_) if kind == wire.BOOL else values, target, mask=missing)
    bounds = np.iinfo(values.dtype)
    infinite = (values == bounds.min) | (values == bounds.max)
    if (infinite & ~missing if missing is not None else infinite).any():
        raise OverflowError("a time is infinite")
    if missing is not None:
        values = np.where(missing, 0, values)
    us = values.astype(np.int64) * (_DAY_US if kind == wire.DATE else 1) + wire.EPOCH_US
    return pa.array(us, pa.int64(), mask=missing).cast(target)


def _variable(data: bytes, at: _Ints, size: _Ints, missing: _Bools | None, target: pa.DataType) -> pa.Array:
    ends = np.cumsum(size)
    source = np.repeat(at - (ends - size), size) + np.arange(ends[-1] if len(ends) else 0)
    payload = np.frombuffer(data, np.uint8)[source]
    offsets = np.concatenate(([0], ends)).astype(np.int32)
    return pa.Array.from_buffers(target, len(at), [_validity(missing), pa.py_buffer(offsets), pa.py_buffer(payload)])


def _arrays(data: bytes, at: _Ints, missing: _Bools | None, element: int) -> pa.Array:
    numbers = at_every_byte(data, ">i4")
    dimensions = numbers[at] if missing is None else np.where(missing, 0, numbers[at])
    if (dimensions > 1).any():
        raise UnsupportedTypeError(
            f"an array of {dimensions.max()} dimensions is not read; give the view a query that flattens it or casts it to text"
        )
    filled = np.flatnonzero(dimensions)  # an empty array has no dimension
    count = np.zeros(len(at), np.int64)
    count[filled] = numbers[at[filled] + _COUNT_AT]
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    first = at + _ELEMENTS_AT
    dtype = _SCALARS[element][0]
    if dtype and not numbers[at[filled] + _FLAGS_AT].any():
        width = np.dtype(dtype).itemsize
        step = wire.LENGTH_BYTES + width
        where = np.repeat(first + wire.LENGTH_BYTES - (ends - count) * step, count) + np.arange(total) * step
        size = np.full(total, width, np.int64)
    else:
        where, size = _walk(numbers, first, count, ends - count)
    null = size < 0
    elements = column(data, where, np.maximum(size, 0), null if null.any() else None, element)
    offsets = pa.py_buffer(np.concatenate(([0], ends)).astype(np.int32))
    target = pa.list_(elements.type)
    return pa.Array.from_buffers(target, len(at), [_validity(missing), offsets], children=[elements])


def _walk(numbers: NDArray[Any], first: _Ints, count: _Ints, offset: _Ints) -> tuple[_Ints, _Ints]:
    """Return where each element begins, and its size (negative for null): the i-th elements of all rows in step i."""
    total = int(count.sum())
    where, size = np.empty(total, np.int64), np.empty(total, np.int64)
    position = first.copy()
    rows = np.flatnonzero(count)
    i = 0
    while len(rows):
        lengths = numbers[position[rows]].astype(np.int64)
        where[offset[rows] + i] = position[rows] + wire.LENGTH_BYTES
        size[offset[rows] + i] = lengths
        position[rows] += wire.LENGTH_BYTES + np.maximum(lengths, 0)
        i += 1
        rows = rows[count[rows] > i]
    return where, size


def _validity(missing: _Bools | None) -> pa.Buffer | None:
    return None if missing is None else pa.array(~missing).buffers()[1]
