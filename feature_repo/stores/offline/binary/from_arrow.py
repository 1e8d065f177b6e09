"""Arrow arrays as columns of PostgreSQL's binary format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.stores.offline.binary import encode
from feature_repo.stores.offline.tables.schema import TYPES

_DOUBLE, _BIGINT, _TEXT, _TIME = (TYPES[name] for name in ("Float64", "Int64", "String", "UnixTimestamp"))

_OTHERS: Final[Mapping[str, tuple[pa.DataType, str]]] = {
    TYPES["Float32"]: (pa.float32(), ">f4"),
    TYPES["Int32"]: (pa.int32(), ">i4"),
    TYPES["Bool"]: (pa.bool_(), "u1"),
}

_COLUMN_TYPES: Final[Mapping[str, Callable[[pa.DataType], bool]]] = {
    _TEXT: lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind),
    _BIGINT: pa.types.is_integer,
    TYPES["Bool"]: pa.types.is_boolean,
    _DOUBLE: pa.types.is_floating,
    _TIME: pa.types.is_timestamp,
    TYPES["Bytes"]: pa.types.is_binary,
}


def column_type(kind: pa.DataType) -> str:
    """Return PostgreSQL's type for a column of an entity frame or of a stored result.

    Raises
    ------
    TypeError
        No column is made for this Arrow type.
    """
    for name, matches in _COLUMN_TYPES.items():
        if matches(kind):
            return name
    raise TypeError(f"an entity frame may not have a column of type {kind}")


def column_of(array: pa.Array, kind: str) -> encode.Column:
    """Encode one Arrow array for a column of type `kind` (a value of ``schema.TYPES``)."""
    null = encode.null_mask(array)
    if kind == _DOUBLE:
        return encode.doubles(_filled(array, pa.float64(), np.nan))
    if kind == _TIME:
        return encode.times(microseconds(array), null)
    if kind == _BIGINT:
        if pa.types.is_floating(array.type):
            return encode.whole_doubles(_filled(array, pa.float64(), np.nan))
        return encode.integers(_filled(array, pa.int64(), 0), null)
    if kind in _OTHERS:
        arrow, wire = _OTHERS[kind]
        return encode.Fixed(_filled(array, arrow, 0).astype(wire), null)
    return encode.texts(array.cast(pa.string() if kind == _TEXT else pa.binary()))


def microseconds(array: pa.Array) -> NDArray[np.int64]:
    """Return times as microseconds since 1970 UTC. No zone is UTC, finer digits are cut, null is 0.

    Raises
    ------
    pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError
        It is not a column of times.
    """
    if not pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp("us"))
    array = pc.floor_temporal(array, unit="microsecond") if array.type.unit == "ns" else array
    whole = array.cast(pa.timestamp("us", array.type.tz)).cast(pa.int64())
    return np.asarray(pc.fill_null(whole, 0).to_numpy(zero_copy_only=False), dtype=np.int64)


def _filled(array: pa.Array, arrow: pa.DataType, fill: float) -> NDArray[Any]:
    cast = array.cast(arrow)
    if cast.null_count:
        cast = pc.fill_null(cast, pa.scalar(bool(fill) if pa.types.is_boolean(arrow) else fill, arrow))
    return np.asarray(cast.to_numpy(zero_copy_only=False))
