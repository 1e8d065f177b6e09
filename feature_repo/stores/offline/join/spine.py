"""The caller's entity frame: what is asked, about which keys, at which moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from feast.errors import FeastEntityDFMissingColumnsError
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.offline.binary import decode
from feature_repo.stores.offline.binary.from_arrow import microseconds
from feature_repo.stores.offline.tables.schema import TYPES

TIME: Final = pa.timestamp("us")
"""Times of a result: UTC without a zone, as Feast's PostgreSQL store gives them."""


@dataclass(frozen=True, slots=True)
class Spine:
    """Entity rows, in the caller's order.

    Attributes
    ----------
    table
        The caller's columns as the result shows them.
    event
        Name of the column of moments.
    moments
        (n,) microseconds since 1970 UTC; 0 where there is none.
    present
        (n,) whether the row has a moment.
    """

    table: pa.Table
    event: str
    moments: NDArray[np.int64]
    present: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Keys:
    """Distinct keys of a spine.

    Attributes
    ----------
    codes
        (n,) position of each row's key among the distinct ones, -1 where a part of it is null.
    columns
        One array of distinct values for each part of the key.
    """

    codes: NDArray[np.int64]
    columns: tuple[pa.Array, ...]


def of_frame(frame: pd.DataFrame) -> Spine:
    """Take over a pandas frame. Its times are UTC where they have no zone; texts that are times are read as such.

    Raises
    ------
    feast.errors.EntityTimestampInferenceException
        It has no ``event_timestamp`` and not exactly one column of times.
    """
    event = infer_event_timestamp_from_entity_df(dict(frame.dtypes))
    if not pd.api.types.is_datetime64_any_dtype(frame[event]):
        frame = frame.assign(**{event: pd.to_datetime(frame[event], utc=True)})
    return of_table(pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None), event)


def of_query(connection: psycopg.Connection[Any], query: str) -> Spine:
    """Run the caller's SQL and take over its result; errors as for `of_frame` and `decode.read_table`."""
    table = decode.read_table(connection, sql.SQL(query))
    return of_table(table, infer_event_timestamp_from_entity_df(dict(table.slice(0, 0).to_pandas().dtypes)))


def of_table(table: pa.Table, event: str) -> Spine:
    """Take over an Arrow table whose moments are in column `event`."""
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):  # pandas' categories
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    moments = table.column(event).combine_chunks()
    present = np.asarray(moments.is_valid().to_numpy(zero_copy_only=False))
    us = microseconds(moments)
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            column = pa.array(microseconds(table.column(i).combine_chunks()), pa.int64()).cast(TIME)
            column = pc.if_else(table.column(i).combine_chunks().is_valid(), column, pa.scalar(None, TIME))
            table = table.set_column(i, field.name, column)
    return Spine(table, event, us, present)


def keys(spine: Spine, names: Sequence[str]) -> Keys:
    """Distinct values of the key columns `names`.

    Raises
    ------
    feast.errors.FeastEntityDFMissingColumnsError
        The entity frame lacks one.
    """
    missing = set(names) - set(spine.table.column_names)
    if missing:
        raise FeastEntityDFMissingColumnsError(set(names), missing)
    rows = spine.table.num_rows
    codes = np.zeros(rows, np.int64)
    null = np.zeros(rows, np.bool_)
    parts = []
    for name in names:
        encoded = spine.table.column(name).combine_chunks()
        if not pa.types.is_dictionary(encoded.type):
            encoded = encoded.dictionary_encode()
        parts.append(encoded.dictionary)
        null |= np.asarray(encoded.is_null().to_numpy(zero_copy_only=False))
        indices = np.asarray(pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False), np.int64)
        codes = codes * max(1, len(encoded.dictionary)) + indices
    distinct, codes = np.unique(codes[~null], return_inverse=True) if rows else (codes, codes)
    every = np.full(rows, -1, np.int64)
    every[~null] = codes
    taken = []
    for part in reversed(parts):
        distinct, index = np.divmod(distinct, max(1, len(part)))
        taken.append(part.take(pa.array(index)))
    return Keys(every, tuple(reversed(taken)))


_KINDS: Final[Mapping[str, Any]] = {
    TYPES["String"]: lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_null(t),
    TYPES["Int64"]: pa.types.is_integer,
    TYPES["Bool"]: pa.types.is_boolean,
    TYPES["Float64"]: pa.types.is_floating,
    TYPES["UnixTimestamp"]: pa.types.is_timestamp,
    TYPES["Bytes"]: pa.types.is_binary,
}


def column_type(kind: pa.DataType) -> str:
    """PostgreSQL's type for a column of an entity frame.

    Raises
    ------
    TypeError
        It has none here.
    """
    for name, matches in _KINDS.items():
        if matches(kind):
            return name
    raise TypeError(f"an entity frame may not have a column of type {kind}")
