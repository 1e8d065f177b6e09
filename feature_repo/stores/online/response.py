"""Reads of many views and symbols: one request, and Feast's response built column by column as bytes.

A value lies in Redis as the serialised ``Value`` that the response holds, so the response is assembled by joining the
stored bytes and parsed once, in C. Status and event time belong to a row, not to a value: they are laid once a view and
shared by its columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.type_map import feast_value_type_to_python_type

from feature_repo.stores.online.format import (
    DOUBLE_SIZE,
    DOUBLE_TAG,
    decode_time,
    encode_time,
    varint,
    without_silence,
)
from feature_repo.stores.online.request import Part, Reply, Request

_PRESENT: Final = int(FieldStatus.PRESENT)
_NOT_FOUND: Final = int(FieldStatus.NOT_FOUND)
_OUTSIDE_MAX_AGE: Final = int(FieldStatus.OUTSIDE_MAX_AGE)

_DOUBLE_CELL: Final = b"\x0a" + bytes((DOUBLE_SIZE,))  # FeatureVector.values, then a Value of nine bytes
_NULL_CELL: Final = b"\x0a\x00"
_NUMBERS: Final = frozenset({"double_val", "int64_val", "int32_val", "float_val", "bool_val"})
_FEW: Final = 8  # values; below, a loop is quicker than numpy
_CELL: Final = np.dtype([("head", "S2"), ("tag", "u1"), ("value", "<f8")])


def fill(
    response: Any,
    answers: Iterable[tuple[Request, Sequence[Reply]]],
    now_us: int | None,
    full_feature_names: bool,
    version_metadata: bool,
    track: Callable[[str, int, int], None],
) -> None:
    """Append the columns to Feast's response.

    Parameters
    ----------
    response
        A ``GetOnlineFeaturesResponse`` that holds the entity columns.
    answers
        Requests and what the server replied, one reply a key.
    now_us
        The time against which a ttl counts, microseconds since the epoch; None serves values of any age.
    full_feature_names, version_metadata
        As for ``get_online_features``.
    track
        Told each view's name and its numbers of present and of other values.
    """
    blob: list[bytes] = []
    for request, replies in answers:
        rows = request.rows(replies)
        columns = list(zip(*rows, strict=True)) or [()] * len(request.fields.names)
        for part in request.parts:
            _describe(response, part, full_feature_names, version_metadata)
            last = part.first + len(part.features)
            statuses, times = _judge(columns[last], part.ttl_us, now_us)
            wanted = columns[part.first : last]
            n_present = statuses.count(_PRESENT)
            if n_present < len(statuses):
                wanted = [
                    tuple([v if s == _PRESENT else b"" for v, s in zip(c, statuses, strict=True)]) for c in wanted
                ]
            tail = (b"\x12" + varint(len(statuses)) + statuses if statuses else b"") + times
            blob += _vectors(wanted, tail)
            n = len(part.features)
            track(part.table.name, n_present * n, (len(statuses) - n_present) * n)
    response.MergeFromString(b"".join(blob))


def _describe(response: Any, part: Part, full_feature_names: bool, version_metadata: bool) -> None:
    projection, metadata = part.table.projection, response.metadata
    prefix = f"{projection.name_to_use()}__" if full_feature_names else ""
    metadata.feature_names.val.extend([prefix + name for name in part.features])
    name = projection.name_alias or projection.name
    if version_metadata and name not in [m.name for m in metadata.feature_view_metadata]:
        version = getattr(part.table, "current_version_number", 0) or 0
        metadata.feature_view_metadata.add(name=name, version=version)


def _judge(times: Reply, ttl: int, now_us: int | None) -> tuple[bytes, bytes]:
    """Return each row's status as a byte, and the rows' event times as they stand in a ``FeatureVector``."""
    judged: dict[bytes | None, tuple[int, bytes]] = {None: (_NOT_FOUND, b"\x1a\x00")}
    for raw in set(times):
        if raw is None:
            continue
        time, silent_us = without_silence(raw)
        event_us = decode_time(time)
        late = bool(ttl) and now_us is not None and now_us - event_us + silent_us > ttl
        micros = encode_time(event_us)
        judged[raw] = (_OUTSIDE_MAX_AGE if late else _PRESENT, b"\x1a" + varint(len(micros)) + micros)
    chosen = [judged[raw] for raw in times]
    return bytes([s for s, _ in chosen]), b"".join([t for _, t in chosen])


def _vectors(columns: Sequence[Reply], tail: bytes) -> list[bytes]:
    """Return each column as a ``FeatureVector`` in the response's ``results``, ending in what its view shares."""
    if columns and len(columns[0]) == 1:  # the columns differ in one value: lay the rest once a size
        vectors: list[bytes] = []
        heads: dict[int, bytes] = {}
        for (value,) in columns:
            raw = value or b""
            head = heads.get(len(raw))
            if head is None:
                cell = b"\x0a" + varint(len(raw))
                head = heads[len(raw)] = b"\x12" + varint(len(cell) + len(raw) + len(tail)) + cell
            vectors += (head, raw, tail)
        return vectors
    bodies = [_cells(column) for column in columns]
    return [piece for body in bodies for piece in (b"\x12", varint(len(body) + len(tail)), body, tail)]


def _cells(column: Reply) -> bytes:
    """Return a column of serialised values as the ``values`` of a ``FeatureVector``."""
    values: Sequence[bytes] = [v or b"" for v in column] if None in column else column  # type: ignore[assignment]
    sizes = set(map(len, values))
    if sizes == {DOUBLE_SIZE}:
        return _DOUBLE_CELL + _DOUBLE_CELL.join(values)
    if sizes == {0, DOUBLE_SIZE}:
        return b"".join([_DOUBLE_CELL + v if v else _NULL_CELL for v in values])
    if sizes == {0}:
        return _NULL_CELL * len(values)
    return b"".join([b"\x0a" + varint(len(v)) + v for v in values])


class FeatureTypes(Mapping[str, Any]):
    """Feast's map of feature names to value types, made when it is first needed: a response of numbers never does.

    Parameters
    ----------
    make
        Makes the map; its names are bare, and also ``<view>__<feature>``.
    features
        The bare names.
    """

    def __init__(self, make: Callable[[], dict[str, Any]], features: Iterable[str]) -> None:
        self._make = make
        self._features = frozenset(features)

    @cached_property
    def _types(self) -> dict[str, Any]:
        return self._make()

    def __getitem__(self, name: str) -> Any:
        if name not in self._features and "__" not in name:  # an entity's column
            raise KeyError(name)
        return self._types[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    def __bool__(self) -> bool:  # Feast replaces a map that is false
        return True


class ColumnResponse(OnlineResponse):  # type: ignore[misc]
    """Feast's response; ``to_dict`` and what builds on it decode a column of doubles at once, not value by value."""

    @classmethod
    def of(cls, response: OnlineResponse) -> ColumnResponse:
        """Return the same response as this class."""
        response.__class__ = cls  # it was made a moment ago and holds all there is; building it again costs twice
        return response  # type: ignore[no-any-return]

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, Any]:
        """Return the columns by name, as Feast does."""
        out: dict[str, Any] = {}
        for name, vector in zip(self.proto.metadata.feature_names.val, self.proto.results, strict=True):
            values = list(vector.values)
            decoded = _doubles(vector, len(values)) if len(values) >= _FEW else None
            out[name] = decoded or [self._python(name, value) for value in values]
            if include_event_timestamps:
                out[name + "__ts"] = [t.seconds for t in vector.event_timestamps]
        return out

    def _python(self, name: str, value: Any) -> Any:
        kind = value.WhichOneof("val")
        if kind is None:
            return None
        if kind in _NUMBERS:
            return getattr(value, kind)
        return feast_value_type_to_python_type(value, self._feature_types.get(name))


def _doubles(vector: Any, n: int) -> list[Any] | None:
    """Return a vector's `n` values where all are doubles or all are null, else None."""
    raw = vector.SerializeToString()  # in C; the values come first, in field order
    if raw.startswith(_NULL_CELL * n):
        return [None] * n
    if len(raw) < n * _CELL.itemsize:
        return None
    cells = np.frombuffer(raw, dtype=_CELL, count=n)
    # Each head says how long its cell is, so where all heads are right the cells stand where they seem to.
    right = (cells["tag"] == DOUBLE_TAG).all() and (cells["head"] == _DOUBLE_CELL).all()
    return cells["value"].tolist() if right else None
