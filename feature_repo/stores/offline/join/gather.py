"""The features of one view for every entity row, filled in piece by piece by several threads, in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.stores.offline.binary.cells import arrow_type

_Ints = NDArray[np.int64]
_Bools = NDArray[np.bool_]

_STORED: Final[dict[pa.DataType, Any]] = {
    pa.bool_(): np.bool_,
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.float32(): np.float32,
    pa.float64(): np.float64,
    pa.timestamp("us"): np.int64,
}


class Columns:
    """Columns of a result, null where nothing was put. Threads may put at the same time, each to rows of its own."""

    def __init__(self, types: Sequence[int], rows: int) -> None:
        kinds = [arrow_type(kind) for kind in types]
        # One block for all columns of a type: the kernel gives it in huge pages, which is quicker than many small ones.
        counts = Counter(_STORED[kind] for kind in kinds if kind in _STORED)
        blocks = {stored: iter(np.zeros((count, rows), stored)) for stored, count in counts.items()}
        valid = iter(np.zeros((counts.total(), rows), np.bool_))
        self._columns = [
            _Fixed(kind, next(blocks[_STORED[kind]]), next(valid)) if kind in _STORED else _Variable(kind, rows)
            for kind in kinds
        ]

    def put(self, rows: _Ints, columns: Sequence[pa.Array]) -> None:
        """Fill in `rows` of every column."""
        for column, values in zip(self._columns, columns, strict=True):
            column.put_array(rows, values)

    def put_taken(self, index: int, rows: _Ints, values: NDArray[Any], valid: _Bools | None, at: _Ints) -> None:
        """Fill in `rows`, which are sorted, of one column of numbers from the positions `at` of `values`; without `valid` all are."""
        column = self._columns[index]
        if not isinstance(column, _Fixed):
            raise TypeError("a column of texts takes Arrow arrays")
        column.put_taken(rows, values, valid, at)

    def put_values(self, index: int, rows: _Ints, values: NDArray[Any], valid: _Bools) -> None:
        """Fill in `rows` of one column of numbers."""
        column = self._columns[index]
        if not isinstance(column, _Fixed):
            raise TypeError("a column of texts takes Arrow arrays")
        column.put(rows, values, valid)

    def finish(self, index: int) -> pa.Array:
        """Return one column, whole, and release its memory here."""
        column = self._columns[index]
        self._columns[index] = _Variable(column.kind, 0)
        return column.finish()


class _Fixed:
    """Values of one width: arrays to write into."""

    def __init__(self, kind: pa.DataType, values: NDArray[Any], valid: _Bools) -> None:
        self.kind = kind
        self._values = values
        self._valid = valid

    def put(self, rows: _Ints, values: NDArray[Any], valid: Any) -> None:
        self._values[rows] = values
        self._valid[rows] = valid

    def put_array(self, rows: _Ints, array: pa.Array) -> None:
        valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False))
        array = array.view(pa.int64()) if pa.types.is_timestamp(self.kind) else array
        if array.null_count:
            array = pc.fill_null(array, pa.scalar(0).cast(array.type))
        self.put(rows, np.asarray(array.to_numpy(zero_copy_only=False)), valid)

    def put_taken(self, rows: _Ints, values: NDArray[Any], valid: _Bools | None, at: _Ints) -> None:
        is_valid: Any = True if valid is None else valid[at]
        if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
            target = slice(int(rows[0]), int(rows[-1]) + 1)
            np.take(values, at, out=self._values[target], mode="clip")
            self._valid[target] = is_valid
        else:
            self.put(rows, values[at], is_valid)

    def finish(self) -> pa.Array:
        values = np.packbits(self._values, bitorder="little") if pa.types.is_boolean(self.kind) else self._values
        valid = None if self._valid.all() else pa.py_buffer(np.packbits(self._valid, bitorder="little"))
        return pa.Array.from_buffers(self.kind, len(self._values), [valid, pa.py_buffer(values)])


class _Variable:
    """Texts and bytes: the pieces are kept, and put in order at the end."""

    def __init__(self, kind: pa.DataType, rows: int) -> None:
        self.kind = kind
        self._rows = rows
        self._parts: list[tuple[_Ints, pa.Array]] = []

    def put_array(self, rows: _Ints, array: pa.Array) -> None:
        self._parts.append((rows, array))

    def finish(self) -> pa.Array:
        position = np.full(self._rows, -1, np.int64)
        start = 0
        for rows, _ in self._parts:
            position[rows] = np.arange(start, start + len(rows))
            start += len(rows)
        parts = pa.concat_arrays([pa.array([], self.kind), *(array for _, array in self._parts)])
        return parts.take(pa.array(position, mask=position < 0))
