"""Rows of features as bytes of Feast's Redis format, packed for the script that writes them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_repo.stores.online.format import (
    DOUBLE_SIZE,
    DOUBLE_TAG,
    INT64_TAG,
    encode_time,
    feature_field,
    time_field,
    varint,
    with_silence,
)

_INT64_TAG: Final = bytes((INT64_TAG,))


_NULL_CELL: Final = b"\xa0"  # a value of no bytes
_DOUBLE_CELL: Final = bytes((0xA0 | DOUBLE_SIZE, DOUBLE_TAG))  # a text of nine bytes; eight follow


_DOUBLE: Final = struct.Struct("<d")


def packed_text(raw: bytes) -> bytes:
    """Return bytes as a MessagePack string of the shortest form."""
    size = len(raw)
    if size < 32:
        return bytes((0xA0 | size,)) + raw
    if size < 256:
        return bytes((0xD9, size)) + raw
    if size < 65_536:
        return b"\xda" + size.to_bytes(2, "big") + raw
    return b"\xdb" + size.to_bytes(4, "big") + raw


@lru_cache(maxsize=1_024)
def row_head(view: str, n_features: int) -> bytes:
    """Return how every row of a view begins: the array's size and the name of the time field."""
    return b"\xdd" + (2 * n_features + 2).to_bytes(4, "big") + packed_text(time_field(view))


@lru_cache(maxsize=65_536)
def packed_field(view: str, feature: str) -> bytes:
    """Return the name of a feature's hash field as it stands in a row."""
    return packed_text(feature_field(view, feature))


def packed_row(view: str, event_us: int, values: dict[str, bytes]) -> bytes:
    """Return one row whose values are serialised already, as Feast's own callers give them."""
    parts = [row_head(view, len(values)), packed_text(encode_time(event_us))]
    for feature, raw in values.items():
        parts += (packed_field(view, feature), packed_text(raw))
    return b"".join(parts)


class RowEncoder:
    """The bytes of a view's rows, from columns. Everything that does not depend on values is laid out once.

    Parameters
    ----------
    view
        Name of the view.
    names, dtypes
        Features in the order of the columns; a dtype is ``Float64`` or ``Int64``.

    Raises
    ------
    ValueError
        Where a dtype is another.
    """

    def __init__(self, view: str, names: Sequence[str], dtypes: Sequence[str]) -> None:
        unknown = set(dtypes) - {"Float64", "Int64"}
        if unknown or len(names) != len(dtypes):
            raise ValueError(f"view {view!r}: one dtype of Float64 or Int64 a feature, not {sorted(unknown) or dtypes}")
        self.view, self.names = view, tuple(names)
        self._head = row_head(view, len(names))
        fields = [packed_field(view, name) for name in names]
        self._doubles = [i for i, dtype in enumerate(dtypes) if dtype == "Float64"]
        self._double_cells = [(fields[i] + _DOUBLE_CELL, fields[i] + _NULL_CELL) for i in self._doubles]
        self._ints = [i for i, dtype in enumerate(dtypes) if dtype == "Int64"]
        self._int_cells = [(names[i], fields[i]) for i in self._ints]

    def rows(
        self,
        event_us: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
        silent_us: npt.NDArray[np.int64] | None = None,
    ) -> list[bytes]:
        """Return one packed row a line of `values`; NaN becomes null.

        Parameters
        ----------
        event_us
            Event times, microseconds since the epoch, shape ``(n,)``.
        values
            Shape ``(n, n_features)``; an Int64 feature is given as a whole double.
        silent_us
            For how long the feed had been silent at the event times, shape ``(n,)``; None says nothing of it.

        Raises
        ------
        ValueError
            Where the shapes do not fit, or an Int64 value is not a whole number of 64 bits.
        """
        n = len(event_us)
        if values.shape != (n, len(self.names)):
            raise ValueError(f"view {self.view!r}: values of shape {(n, len(self.names))} wanted, not {values.shape}")
        # Up to some fifty rows this is quicker than laying the bytes with numpy, and never far behind.
        pack, double_cells = _DOUBLE.pack, self._double_cells
        doubles = [
            b"".join([cell + pack(v) if v == v else null for (cell, null), v in zip(double_cells, row, strict=True)])
            for row in values[:, self._doubles].tolist()
        ]
        ints = [self._packed_ints(i, row) for i, row in enumerate(values[:, self._ints].tolist())]
        times = [encode_time(t) for t in event_us.tolist()]
        if silent_us is not None:
            times = [with_silence(time, silent) for time, silent in zip(times, silent_us.tolist(), strict=True)]
        starts = [self._head + packed_text(time) for time in times]
        return [b"".join(parts) for parts in zip(starts, doubles, ints, strict=True)]

    def _packed_ints(self, at: int, row: list[float]) -> bytes:
        cells = b""
        for (name, field), value in zip(self._int_cells, row, strict=True):
            if value != value:
                cells += field + _NULL_CELL
            elif value.is_integer() and -(2.0**63) <= value < 2.0**63:
                cells += field + packed_text(_INT64_TAG + varint(int(value)))
            else:
                raise ValueError(f"{self.view}:{name} is Int64, but row {at} holds {value!r}")
        return cells
