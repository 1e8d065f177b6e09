"""Replies of Redis as the results that Feast returns.

Redis holds each value as the serialised ``Value`` that Feast's response contains. So the response is assembled by
joining the stored bytes, column by column, and parsed once, in C. Status and event time belong to a row and not to a
value: they are encoded once per view, and its columns share them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from itertools import islice
from typing import Any, Final

import numpy as np
from feast.metrics import track_feature_statuses
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type

from feature_repo.stores.online.format import (
    DOUBLE_SIZE,
    DOUBLE_TAG,
    decode_time,
    encode_time,
    event_and_silence,
    varint,
)
from feature_repo.stores.online.request import Part, Reply, Request
from transforms.times import datetime_of_us

_PRESENT: Final = int(FieldStatus.PRESENT)
_NOT_FOUND: Final = int(FieldStatus.NOT_FOUND)
_OUTSIDE_MAX_AGE: Final = int(FieldStatus.OUTSIDE_MAX_AGE)

# Protobuf tags; the length of what follows comes next.
_RESULTS: Final = b"\x12"  # GetOnlineFeaturesResponse.results, number 2: one FeatureVector per column
_VALUES: Final = b"\x0a"  # FeatureVector.values, number 1: one per row
_STATUSES: Final = b"\x12"  # FeatureVector.statuses, number 2: packed, one byte per row
_EVENT_TIMESTAMPS: Final = b"\x1a"  # FeatureVector.event_timestamps, number 3: one per row

_DOUBLE_HEAD: Final = _VALUES + bytes((DOUBLE_SIZE,))  # what precedes a Value that holds a double
_NULL_CELL: Final = _VALUES + b"\x00"  # a Value without bytes: null

_NUMBERS: Final = frozenset({"double_val", "int64_val", "int32_val", "float_val", "bool_val"})
_MIN_VALUES: Final = 8  # for fewer values a loop is quicker than numpy
_DOUBLE: Final = _DOUBLE_HEAD + DOUBLE_TAG
_CELL: Final = np.dtype([("head", f"S{len(_DOUBLE)}"), ("value", "<f8")])

Row = tuple[datetime | None, dict[str, Value] | None]
"""Event time and values of one entity, as ``online_read`` returns them; two Nones if there is no row."""


def fill(
    response: Any,
    requests: Iterable[Request],
    replies: Iterable[Reply],
    now_us: int | None,
    full_feature_names: bool,
    version_metadata: bool,
) -> None:
    """Append the requested columns to Feast's response, which holds the entity columns.

    There is one reply per key, in the order of the requests. A ttl counts against `now_us`, in microseconds since the
    epoch; None serves values of any age.
    """
    blob: list[bytes] = []
    left = iter(replies)
    for request in requests:
        rows = request.rows(list(islice(left, len(request.keys))))
        columns = list(zip(*rows, strict=True)) or [()] * len(request.fields.names)
        for part in request.parts:
            _add_metadata(response, part, full_feature_names, version_metadata)
            statuses, times = _statuses_and_times(columns[part.time], _oldest_us(part, now_us))
            values = columns[part.first : part.time]
            n_present = statuses.count(_PRESENT)
            if n_present < len(statuses):
                values = [
                    tuple([v if s == _PRESENT else b"" for v, s in zip(column, statuses, strict=True)])
                    for column in values
                ]
            tail = (_STATUSES + varint(len(statuses)) + statuses if statuses else b"") + times
            blob += feature_vectors(values, tail)
            n = len(part.features)
            track_feature_statuses(part.table.name, n_present * n, (len(statuses) - n_present) * n)
    response.MergeFromString(b"".join(blob))


def view_rows(request: Request, replies: Iterable[Reply], now_us: int | None) -> list[Row]:
    """Return the row of each key of a request for one view; the values of one older than its ttl are null."""
    (part,) = request.parts
    oldest_us = _oldest_us(part, now_us)
    rows: list[Row] = []
    for *values, time in replies:
        if time is None:
            rows.append((None, None))
            continue
        stamp, silent_us = event_and_silence(time)
        event_us = decode_time(stamp)
        late = event_us - silent_us < oldest_us
        found = {n: Value.FromString(b"" if late else v or b"") for n, v in zip(part.features, values, strict=True)}
        rows.append((datetime_of_us(event_us), found))
    return rows


def feature_vectors(columns: Sequence[Reply], tail: bytes) -> list[bytes]:
    """Return the pieces of each column's ``FeatureVector`` in the results; `tail` is what all columns end in."""
    if columns and len(columns[0]) == 1:  # one value per column: what precedes it depends on its size only
        vectors: list[bytes] = []
        heads: dict[int, bytes] = {}
        for (value,) in columns:
            raw = value or b""
            head = heads.get(len(raw))
            if head is None:
                cell = _VALUES + varint(len(raw))
                head = heads[len(raw)] = _RESULTS + varint(len(cell) + len(raw) + len(tail)) + cell
            vectors += (head, raw, tail)
        return vectors
    bodies = [_cells(column) for column in columns]
    return [piece for body in bodies for piece in (_RESULTS, varint(len(body) + len(tail)), body, tail)]


def _cells(column: Reply) -> bytes:
    values: Sequence[bytes] = [v or b"" for v in column] if None in column else column  # type: ignore[assignment]
    sizes = set(map(len, values))
    if sizes == {DOUBLE_SIZE}:
        return _DOUBLE_HEAD + _DOUBLE_HEAD.join(values)
    if sizes == {0, DOUBLE_SIZE}:
        return b"".join([_DOUBLE_HEAD + v if v else _NULL_CELL for v in values])
    if sizes == {0}:
        return _NULL_CELL * len(values)
    return b"".join([_VALUES + varint(len(v)) + v for v in values])


def _statuses_and_times(times: Reply, oldest_us: float) -> tuple[bytes, bytes]:
    """Return each row's status as a byte, and the rows' event times as a ``FeatureVector`` holds them."""
    known: dict[bytes | None, tuple[int, bytes]] = {None: (_NOT_FOUND, _EVENT_TIMESTAMPS + b"\x00")}
    for raw in set(times):
        if raw is None:
            continue
        stamp, silent_us = event_and_silence(raw)
        event_us = decode_time(stamp)
        status = _OUTSIDE_MAX_AGE if event_us - silent_us < oldest_us else _PRESENT
        time = encode_time(event_us)  # Feast's own rows may hold nanoseconds
        known[raw] = (status, _EVENT_TIMESTAMPS + varint(len(time)) + time)
    rows = [known[raw] for raw in times]
    return bytes([status for status, _ in rows]), b"".join([time for _, time in rows])


def _oldest_us(part: Part, now_us: int | None) -> float:
    """Return the time since which a view's feed must have sent a message, so that a value is within the ttl."""
    return now_us - part.ttl_us if part.ttl_us and now_us is not None else -math.inf


def _add_metadata(response: Any, part: Part, full_feature_names: bool, version_metadata: bool) -> None:
    projection, metadata = part.table.projection, response.metadata
    prefix = f"{projection.name_to_use()}__" if full_feature_names else ""
    metadata.feature_names.val.extend([prefix + name for name in part.features])
    name = projection.name_alias or projection.name
    if version_metadata and name not in [m.name for m in metadata.feature_view_metadata]:
        version = getattr(part.table, "current_version_number", 0) or 0
        metadata.feature_view_metadata.add(name=name, version=version)


class ColumnResponse(OnlineResponse):  # type: ignore[misc]
    """Feast's response. ``to_dict``, and what builds on it, decodes a column of doubles at once, not value by value."""

    @classmethod
    def of(cls, response: OnlineResponse) -> ColumnResponse:
        """Return the same response as this class."""
        response.__class__ = cls  # Feast made the object a moment ago; building it again would take twice as long
        return response  # type: ignore[no-any-return]

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, Any]:
        """Return the columns by name, as Feast does."""
        out: dict[str, Any] = {}
        for name, vector in zip(self.proto.metadata.feature_names.val, self.proto.results, strict=True):
            values = list(vector.values)
            decoded = _doubles(vector, len(values)) if len(values) >= _MIN_VALUES else None
            out[name] = decoded or [self._python(name, value) for value in values]
            if include_event_timestamps:
                out[name + "__ts"] = [t.seconds for t in vector.event_timestamps]
        return out

    def to_tensor(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return Feast's tensors by name, in the order of the columns; Feast puts the names into a set."""
        tensors = super().to_tensor(*args, **kwargs)
        return {name: tensors[name] for name in dict.fromkeys(self.proto.metadata.feature_names.val)}

    def _python(self, name: str, value: Any) -> Any:
        kind = value.WhichOneof("val")
        if kind is None:
            return None
        if kind in _NUMBERS:
            return getattr(value, kind)
        return feast_value_type_to_python_type(value, self._feature_types.get(name))


def _doubles(vector: Any, n: int) -> list[Any] | None:
    """Return a vector's `n` values if all are doubles or all are null, else None."""
    raw = vector.SerializeToString()  # in C; the values come first, in field order
    if raw.startswith(_NULL_CELL * n):
        return [None] * n
    if len(raw) < n * _CELL.itemsize:
        return None
    cells = np.frombuffer(raw, dtype=_CELL, count=n)
    # A head holds its cell's length. If all heads are those of doubles, every cell begins where numpy assumes.
    return cells["value"].tolist() if (cells["head"] == _DOUBLE).all() else None


class FeatureTypes:
    """Feast's map of feature names to value types, made when it is first read: a response of numbers never reads it.

    Feast 0.67 calls ``get`` only.

    Parameters
    ----------
    make : callable
        Makes the map. Its keys are the bare names, and ``<view>__<feature>``.
    features : iterable of str
        The bare names.
    """

    def __init__(self, make: Callable[[], dict[str, Any]], features: Iterable[str]) -> None:
        self._types = cache(make)
        self._features = frozenset(features)

    def get(self, name: str) -> Any:
        """Return the type of a feature; None for an entity's column, which does not make the map."""
        return self._types().get(name) if name in self._features or "__" in name else None
