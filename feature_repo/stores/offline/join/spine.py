"""The caller's entity frame: its columns as the result shows them, and the moment of each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from numpy.typing import NDArray
from psycopg import sql

from feature_repo.stores.offline.binary import decode
from feature_repo.stores.offline.binary.from_arrow import microseconds

_TIME: Final = pa.timestamp("us")  # times of a result are UTC without a zone, as Feast's PostgreSQL store gives them


@dataclass(frozen=True, slots=True)
class Spine:
    """Entity rows, in the caller's order: ``table`` as the result shows it, and ``event``, its column of moments.

    ``moments`` (n,) are microseconds since 1970 UTC, 0 where ``present`` (n,) says that the row has none.
    """

    table: pa.Table
    event: str
    moments: NDArray[np.int64]
    present: NDArray[np.bool_]


def spine_of_frame(frame: pd.DataFrame) -> Spine:
    """Return the spine of a pandas frame. Times without a zone are UTC; texts in the column of moments are parsed.

    Raises
    ------
    feast.errors.EntityTimestampInferenceException
        It has no ``event_timestamp`` and not exactly one column of times.
    """
    event = infer_event_timestamp_from_entity_df(dict(frame.dtypes))
    if not pd.api.types.is_datetime64_any_dtype(frame[event]):
        frame = frame.assign(**{event: pd.to_datetime(frame[event], utc=True)})
    return _spine_of_table(pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None), event)


def spine_of_query(connection: psycopg.Connection[Any], query: str) -> Spine:
    """Run the caller's SQL and return the spine of its result; errors as for `spine_of_frame` and ``read_table``."""
    table = decode.read_table(connection, sql.SQL(query))
    return _spine_of_table(table, infer_event_timestamp_from_entity_df(dict(table.slice(0, 0).to_pandas().dtypes)))


def _spine_of_table(table: pa.Table, event: str) -> Spine:
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):  # pandas' categories
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    moments = table.column(event).combine_chunks()
    present = np.asarray(moments.is_valid().to_numpy(zero_copy_only=False))
    us = microseconds(moments)
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            given = table.column(i).combine_chunks()
            column = pa.array(microseconds(given), pa.int64()).cast(_TIME)
            table = table.set_column(i, field.name, pc.if_else(given.is_valid(), column, pa.scalar(None, _TIME)))
    return Spine(table, event, us, present)
