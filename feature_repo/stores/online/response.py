"""What Feast returns: responses that hold arrays and make protobuf only for those who ask, and rows of one view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from feast import metrics
from feast.online_response import OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type

from feature_repo.stores.errors import UserError
from feature_repo.stores.online.record import Doubles
from feature_repo.stores.online.request import Request
from feature_repo.stores.online.shape import NOT_FOUND, PRESENT, Table
from feature_repo.stores.online.vectors import doubles_of, text_vector, vectors
from transforms.times import datetime_of_us

_NUMBERS: Final = frozenset({"double_val", "int64_val", "int32_val", "float_val", "bool_val"})
_SECOND_US: Final = 1_000_000

Row = tuple[datetime | None, dict[str, Value] | None]
"""Event time and values of one entity, as ``online_read`` returns them; two Nones if there is no row."""


class NotNumericError(UserError, ValueError):
    """A feature that was asked for as a number is another thing."""


def fill(
    response: Any,
    requests: Sequence[Request],
    tables: Sequence[Table],
    full_feature_names: bool,
    version_metadata: bool,
) -> None:
    """Append the requested columns to Feast's response, which holds the entity columns."""
    for request, table in zip(requests, tables, strict=True):
        for view, asked in zip(request.views, request.shape.asked, strict=True):
            _add_metadata(response, view, asked.features, full_feature_names, version_metadata)
        track(request.views, table)
    response.MergeFromString(b"".join(map(vectors, tables)))


def track(views: Iterable[Any], table: Table) -> None:
    """Count the values that are present, and the others, in the metrics of Feast's feature server."""
    if not metrics._config.online_features:
        return
    for v, view in enumerate(views):
        n = len(table.shape.asked[v].features)
        n_present = int((table.statuses[:, v] == PRESENT).sum())
        metrics.track_feature_statuses(view.name, n_present * n, (len(table.statuses) - n_present) * n)


def view_rows(table: Table) -> list[Row]:
    """Return the row of each entity of a request for one view; the values of one older than its ttl are null."""
    names = [name for _, name in table.shape.columns]
    columns = [table.serialised(j) for j in range(len(names))]
    rows: list[Row] = []
    for i, (status, event_us) in enumerate(zip(table.statuses[:, 0], table.event_us[:, 0].tolist(), strict=True)):
        found = {name: Value.FromString(column[i]) for name, column in zip(names, columns, strict=True)}
        rows.append((None, None) if status == NOT_FOUND else (datetime_of_us(event_us), found))
    return rows


def _add_metadata(
    response: Any, view: Any, features: Sequence[str], full_feature_names: bool, version_metadata: bool
) -> None:
    projection, metadata = view.projection, response.metadata
    prefix = f"{projection.name_to_use()}__" if full_feature_names else ""
    metadata.feature_names.val.extend([prefix + name for name in features])
    name = projection.name_alias or projection.name
    if version_metadata and name not in [m.name for m in metadata.feature_view_metadata]:
        version = getattr(view, "current_version_number", 0) or 0
        metadata.feature_view_metadata.add(name=name, version=version)


@dataclass(slots=True)
class Found:
    """What a response is made of: the entities, and the features that were found of them."""

    join_key: str
    symbols: Sequence[str]
    names: Sequence[str]  # of the features' columns
    table: Table


class ColumnResponse(OnlineResponse):  # type: ignore[misc]
    """Feast's response, from arrays where that is possible: then its protobuf message is made when it is first read.

    Beside Feast's methods it has `to_numpy`.
    """

    _found: Found | None = None
    _features: Sequence[str]

    @classmethod
    def of(cls, response: OnlineResponse, features: Sequence[str]) -> ColumnResponse:
        """Return a response that Feast made as this class; `features` are the columns that were asked for."""
        response.__class__ = cls  # Feast made the object a moment ago; building it again would take twice as long
        present = set(response.proto.metadata.feature_names.val)  # without full names for what is computed on demand
        response._features = [name for name in features if name in present]
        return response  # type: ignore[no-any-return]

    @classmethod
    def of_arrays(cls, found: Found, types: FeatureTypes) -> ColumnResponse:
        """Return the response of a request for entities of one text join key."""
        response = cls.__new__(cls)
        response._found, response._feature_types, response._features = found, types, found.names
        return response

    @cached_property
    def proto(self) -> Any:
        """Feast's message."""
        found: Any = self._found
        made = GetOnlineFeaturesResponse.FromString(text_vector(found.symbols) + vectors(found.table))
        made.metadata.feature_names.val.extend([found.join_key, *found.names])
        return made

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, Any]:
        """Return the columns by name, as Feast does."""
        if self._found is not None:
            return self._lists(self._found, include_event_timestamps)
        out: dict[str, Any] = {}
        for name, vector in zip(self.proto.metadata.feature_names.val, self.proto.results, strict=True):
            values = list(vector.values)
            out[name] = doubles_of(vector, len(values)) or [self._python(name, value) for value in values]
            if include_event_timestamps:
                out[name + "__ts"] = [t.seconds for t in vector.event_timestamps]
        return out

    def to_df(self, include_event_timestamps: bool = False) -> pd.DataFrame:
        """Return the frame that Feast returns."""
        columns = self._arrays(include_event_timestamps)
        return super().to_df(include_event_timestamps) if columns is None else pd.DataFrame(columns)

    def to_arrow(self, include_event_timestamps: bool = False) -> pa.Table:
        """Return the table that Feast returns."""
        columns = self._arrays(include_event_timestamps)
        if columns is None:
            return super().to_arrow(include_event_timestamps)
        return pa.table({name: pa.array(column, from_pandas=True) for name, column in columns.items()})

    def to_numpy(self, features: Sequence[str] | None = None) -> Doubles:
        """Return the features as one array of doubles, a line per entity, as a model takes it; null is NaN.

        Parameters
        ----------
        features : sequence of str, optional
            Names of the columns, in the order wanted; None takes all, in the order of the request: that of the service.

        Raises
        ------
        KeyError
            If the response has no such column.
        NotNumericError
            If a feature is no number.
        """
        found = self._found
        if found is not None and not found.table.cells:
            if features is None:
                return found.table.values.copy()  # the caller may change it
            place = {name: j for j, name in enumerate(found.names)}
            return np.take(found.table.values, [place[name] for name in features], axis=1)
        columns = self.to_dict()
        wanted = self._features if features is None else features
        return np.array([_numbers(name, columns[name]) for name in wanted], float).T.copy()

    def to_tensor(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return Feast's tensors by name, in the order of the columns; Feast puts the names into a set."""
        tensors = super().to_tensor(*args, **kwargs)
        return {name: tensors[name] for name in dict.fromkeys(self.proto.metadata.feature_names.val)}

    def _lists(self, found: Found, include_event_timestamps: bool) -> dict[str, list[Any]]:
        table = found.table
        has_null = np.any(np.isnan(table.values), axis=0)
        values = table.values.T.tolist()
        for j, column in enumerate(values):
            if j in table.cells:
                values[j] = [self._python(found.names[j], Value.FromString(raw)) for raw in table.cells[j]]
            elif table.shape.is_int[j]:
                values[j] = [int(v) if v == v else None for v in column]
            elif has_null[j]:
                values[j] = [v if v == v else None for v in column]
        return _columns(found, values, list(found.symbols), include_event_timestamps)

    def _arrays(self, include_event_timestamps: bool) -> dict[str, Any] | None:
        """Return the columns by name as arrays of the types that pandas and pyarrow find for Feast's lists of numbers.

        None if the response does not hold all features as doubles.
        """
        found = self._found
        if found is None or found.table.cells:
            return None
        table, n = found.table, len(found.symbols)
        is_null = np.isnan(table.values)
        has_null, no_value = np.any(is_null, axis=0), np.all(is_null, axis=0)
        values: list[Any] = list(table.values.T)
        for j, column in enumerate(values):
            if no_value[j]:
                values[j] = np.full(n, None)
            elif table.shape.is_int[j]:
                values[j] = [int(v) if v == v else None for v in column] if has_null[j] else column.astype(np.int64)
        return _columns(found, values, found.symbols, include_event_timestamps)

    def _python(self, name: str, value: Any) -> Any:
        kind = value.WhichOneof("val")
        if kind is None:
            return None
        if kind in _NUMBERS:
            return getattr(value, kind)
        return feast_value_type_to_python_type(value, self._feature_types.get(name))


def _columns(found: Found, values: Sequence[Any], symbols: Any, include_event_timestamps: bool) -> dict[str, Any]:
    """Return the columns of the entities and of the features by name, each with its event times if they are wanted."""
    columns = {found.join_key: symbols} | dict(zip(found.names, values, strict=True))
    if not include_event_timestamps:
        return columns
    seconds = (found.table.event_us // _SECOND_US).T.tolist()
    times = [[0] * len(symbols), *(seconds[v] for v in found.table.shape.view_of)]
    return {
        key: column
        for (name, values), time in zip(columns.items(), times, strict=True)
        for key, column in ((name, values), (f"{name}__ts", time))
    }


def _numbers(name: str, column: Sequence[Any]) -> list[float]:
    if any(not isinstance(value, int | float | None) for value in column):
        raise NotNumericError(f"feature {name} is no number; name the features that are, as in to_numpy(features)")
    return [np.nan if value is None else float(value) for value in column]


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
