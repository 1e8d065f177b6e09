"""Rows of features in Feast's Redis format, packed for the script that writes them.

A packed row is one MessagePack array ``[field, value, field, value, ...]`` whose first field is the event time, with the
row's record behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    with_created,
    with_silence,
)
from feature_repo.stores.online.record import FRONT_WORDS, VALUES_AT, WORD, Dtype, Layout, layout_of
from transforms.limits import INT64_END

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

# Heads of MessagePack: a text whose length is in the head or in the bytes that follow, and an array.
_FIXSTR: Final = tuple(bytes((0xA0 | size,)) for size in range(32))
_STR8, _STR16, _STR32, _ARRAY32 = b"\xd9", b"\xda", b"\xdb", b"\xdd"

_NULL_CELL: Final = _FIXSTR[0]  # a Value without bytes
_DOUBLE_HEAD: Final = _FIXSTR[DOUBLE_SIZE] + DOUBLE_TAG  # eight bytes follow


def packed_text(raw: bytes) -> bytes:
    """Return bytes as a MessagePack text of the shortest form."""
    size = len(raw)
    if size < len(_FIXSTR):
        return _FIXSTR[size] + raw
    if size < 256:
        return _STR8 + size.to_bytes(1, "big") + raw
    if size < 65_536:
        return _STR16 + size.to_bytes(2, "big") + raw
    return _STR32 + size.to_bytes(4, "big") + raw


@lru_cache(maxsize=1_024)
def _row_head(view: str, n_features: int) -> bytes:
    """Return what every row of a view begins with: the array's size and the name of the time field."""
    n_items = 2 * (1 + n_features)
    return _ARRAY32 + n_items.to_bytes(4, "big") + packed_text(time_field(view))


@lru_cache(maxsize=65_536)
def _packed_field(view: str, feature: str) -> bytes:
    return packed_text(feature_field(view, feature))


@lru_cache(maxsize=1_024)
def packed_names(view: str, features: tuple[str, ...]) -> bytes:
    """Return the names of the features' fields as one MessagePack array."""
    return _ARRAY32 + len(features).to_bytes(4, "big") + b"".join([_packed_field(view, name) for name in features])


def packed_row(
    view: str, time: bytes, values: Mapping[str, bytes], layout: Layout | None = None, *, lone: bool = False
) -> bytes:
    """Return one packed row of an event time and of values by feature, all serialised already.

    With a record, if `layout` is given, `values` has all its features, and doubles say them exactly; `lone` then leaves
    out the fields of the features.
    """
    if layout is not None and values.keys() >= layout.index.keys():
        record, odd = layout.record_of(time, [values[name] for name in layout.names])
        if not odd:
            time = layout.with_record(time, record, lone=lone)
            values = {} if lone else values
    parts = [_row_head(view, len(values)), packed_text(time)]
    for feature, raw in values.items():
        parts += (_packed_field(view, feature), packed_text(raw))
    return b"".join(parts)


class RowEncoder:
    """Packs a view's rows from columns. What does not depend on values is encoded once.

    Parameters
    ----------
    view : str
        Name of the view.
    names, dtypes : sequence of str
        Features in the order of the columns; a dtype is ``Float64`` or ``Int64``.
    lone : bool
        Leave out the fields of the features, which only stock Feast needs.

    Raises
    ------
    ValueError
        If a dtype is another, or if there is not one for each feature.
    """

    def __init__(self, view: str, names: Sequence[str], dtypes: Sequence[Dtype], *, lone: bool = False) -> None:
        unknown = set(dtypes) - {"Float64", "Int64"}
        if unknown or len(names) != len(dtypes):
            raise ValueError(
                f"view {view!r}: every feature needs the dtype Float64 or Int64, not {sorted(unknown) or dtypes}"
            )
        self.view, self.names = view, tuple(names)
        self._layout, self._lone = layout_of(self.names, tuple(dtypes)), lone
        self._head = _row_head(view, 0 if lone else len(names))
        fields = [_packed_field(view, name) for name in names]
        in_record = WORD * (VALUES_AT - FRONT_WORDS)
        self._double_cells = [
            (i, in_record + WORD * i, fields[i] + _DOUBLE_HEAD, fields[i] + _NULL_CELL)
            for i, dtype in enumerate(dtypes)
            if dtype == "Float64"
        ]
        self._int_cells = [(i, names[i], fields[i]) for i, dtype in enumerate(dtypes) if dtype == "Int64"]

    def rows(
        self, event_us: Ints, values: Doubles, silent_us: Ints | None = None, created_us: Ints | None = None
    ) -> list[bytes]:
        """Return one packed row per line of `values`; arguments and errors as for `OnlineWriter.write`."""
        n = len(event_us)
        if values.shape != (n, len(self.names)):
            raise ValueError(f"view {self.view!r}: values must have shape {(n, len(self.names))}, not {values.shape}")
        events, rows = event_us.tolist(), values.tolist()
        silent = [0] * n if silent_us is None else silent_us.tolist()
        times = [encode_time(t) for t in events]
        if created_us is not None:
            times = [with_created(time, created) for time, created in zip(times, created_us.tolist(), strict=True)]
        times = [with_silence(time, us) for time, us in zip(times, silent, strict=True)]
        ints = [self._packed_ints(i, row) for i, row in enumerate(rows)]
        make, with_record, lone = self._layout.record, self._layout.with_record, self._lone
        records = [make(event, us, row) for event, us, row in zip(events, silent, rows, strict=True)]
        starts = [
            self._head + packed_text(with_record(time, record, lone=lone))
            for time, record in zip(times, records, strict=True)
        ]
        if lone:
            return starts
        # For up to some fifty rows this is quicker than filling an array of bytes with numpy, and never far behind.
        doubles = [
            b"".join(
                [cell + record[at : at + 8] if row[i] == row[i] else null for i, at, cell, null in self._double_cells]
            )
            for row, record in zip(rows, records, strict=True)
        ]
        return [b"".join(parts) for parts in zip(starts, doubles, ints, strict=True)]

    def _packed_ints(self, at: int, row: list[float]) -> bytes:
        """Return the cells of the whole numbers in a row; their negative zeros become zeros, which is what is read back."""
        cells = b""
        for i, name, field in self._int_cells:
            value = row[i] = row[i] + 0.0
            if value != value:
                cells += field + _NULL_CELL
            elif value.is_integer() and -INT64_END <= value < INT64_END:
                cells += field + packed_text(INT64_TAG + varint(int(value)))
            else:
                raise ValueError(f"{self.view}:{name} is Int64, but row {at} holds {value!r}")
        return cells
