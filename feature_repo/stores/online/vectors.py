"""A table as the columns of Feast's response, in bytes.

The response is assembled by joining bytes, column by column, and parsed once, in C. Status and event time belong to a row
and not to a value: they are encoded once per view, and its columns share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from feature_repo.stores.online.format import DOUBLE_SIZE, DOUBLE_TAG, encode_time, varint
from feature_repo.stores.online.shape import NOT_FOUND, Table

# Protobuf tags; the length of what follows comes next.
_RESULTS: Final = b"\x12"  # GetOnlineFeaturesResponse.results, number 2: one FeatureVector per column
_VALUES: Final = b"\x0a"  # FeatureVector.values, number 1: one per row
_STATUSES: Final = b"\x12"  # FeatureVector.statuses, number 2: packed, one byte per row
_EVENT_TIMESTAMPS: Final = b"\x1a"  # FeatureVector.event_timestamps, number 3: one per row

_TEXT: Final = b"\x12"  # Value.string_val, number 2
_NULL_CELL: Final = _VALUES + b"\x00"  # a Value without bytes: null
_CELL: Final = np.dtype([("head", "S3"), ("value", "<f8")])
_DOUBLE_HEAD: Final = _VALUES + bytes((DOUBLE_SIZE,)) + DOUBLE_TAG  # what precedes the eight bytes of a double
_MIN_VALUES: Final = 8  # for fewer values a loop is quicker than numpy


def vectors(table: Table) -> bytes:
    """Return the columns of a table as ``results`` of Feast's response."""
    n, n_columns = table.values.shape
    tails = [_tail(table, v) for v in range(len(table.shape.asked))]
    cells = np.empty((n_columns, n), _CELL)
    cells["head"], cells["value"] = _DOUBLE_HEAD, table.values.T
    is_null = np.isnan(table.values)
    has_null, no_value = np.any(is_null, axis=0), np.all(is_null, axis=0)
    pieces: list[bytes] = []
    for j, v in enumerate(table.shape.view_of.tolist()):
        if j in table.cells or ((table.shape.is_int[j] or has_null[j]) and not no_value[j]):
            body = _cells(table.serialised(j))
        else:
            body = _NULL_CELL * n if no_value[j] else cells[j].tobytes()
        pieces += (_RESULTS, varint(len(body) + len(tails[v])), body, tails[v])
    return b"".join(pieces)


def text_vector(texts: Sequence[str]) -> bytes:
    """Return the column of an entity's texts, as Feast makes it: present, without event times."""
    values = [_TEXT + varint(len(raw)) + raw for raw in [text.encode() for text in texts]]
    n = len(values)
    body = _cells(values) + _STATUSES + varint(n) + b"\x01" * n + (_EVENT_TIMESTAMPS + b"\x00") * n
    return _RESULTS + varint(len(body)) + body


def doubles_of(vector: Any, n: int) -> list[Any] | None:
    """Return the `n` values of a ``FeatureVector`` if all are doubles or all are null; None if not, or if they are few."""
    if n < _MIN_VALUES:
        return None
    raw = vector.SerializeToString()  # in C; the values come first, in field order
    if raw.startswith(_NULL_CELL * n):
        return [None] * n
    if len(raw) < n * _CELL.itemsize:
        return None
    cells = np.frombuffer(raw, dtype=_CELL, count=n)
    # A head holds its cell's length. If all heads are those of doubles, every cell begins where numpy assumes.
    return cells["value"].tolist() if (cells["head"] == _DOUBLE_HEAD).all() else None


def _cells(values: Sequence[bytes]) -> bytes:
    return b"".join([_VALUES + varint(len(raw)) + raw for raw in values])


def _tail(table: Table, v: int) -> bytes:
    """Return what all columns of a view end in: each row's status and event time."""
    statuses = table.statuses[:, v].tobytes()
    times = [
        b"" if status == NOT_FOUND else encode_time(event_us)
        for status, event_us in zip(statuses, table.event_us[:, v].tolist(), strict=True)
    ]
    head = _STATUSES + varint(len(statuses)) + statuses if statuses else b""
    return head + b"".join([_EVENT_TIMESTAMPS + varint(len(time)) + time for time in times])
