"""Feast's response class, with columns that are decoded at once and value types that are resolved when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

import numpy as np
from feast.online_response import OnlineResponse
from feast.type_map import feast_value_type_to_python_type

from feature_repo.stores.online.format import DOUBLE_TAG
from feature_repo.stores.online.response import DOUBLE_HEAD, NULL_CELL

_NUMBERS: Final = frozenset({"double_val", "int64_val", "int32_val", "float_val", "bool_val"})
_MIN_VALUES: Final = 8  # for fewer values a loop is quicker than numpy
_DOUBLE: Final = DOUBLE_HEAD + DOUBLE_TAG
_CELL: Final = np.dtype([("head", f"S{len(_DOUBLE)}"), ("value", "<f8")])


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
    if raw.startswith(NULL_CELL * n):
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
