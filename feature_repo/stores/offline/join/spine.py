"""The caller's entity rows: as the result shows them, as a view is asked for them, and as temporary tables on the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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

from feature_repo.stores.offline.binary import decode, encode
from feature_repo.stores.offline.join.moments import MomentError, utc_times
from feature_repo.stores.offline.tables.schema import TYPES, column_definitions

ASKED: Final = sql.Identifier("pg_temp", "asked")
"""Temporary table ``(n, t, k0, k1 ...)``: number, moment and key of the entity rows to look up."""

KEYS: Final = sql.Identifier("pg_temp", "asked_keys")
"""Temporary table ``(id, void, k0, k1 ...)``: the distinct keys, and the value that stands for null in a scan."""

VOID: Final = np.array([0x7FF8_0054_4653_0001], np.uint64).view(np.float64)
"""The value of ``void``: a quiet NaN with a payload that no computation gives."""

_Ints = NDArray[np.int64]
_TIME: Final = pa.timestamp("us")  # times of a result are UTC without a zone, as Feast's PostgreSQL store gives them


@dataclass(frozen=True, slots=True)
class Spine:
    """Entity rows, in the caller's order: ``table`` as the result shows it, and ``event``, its column of moments.

    ``moments`` (n,) are microseconds since 1970 UTC, 0 where ``present`` (n,) says that the row has none.
    """

    table: pa.Table
    event: str
    moments: _Ints
    present: NDArray[np.bool_]


def spine_of_frame(frame: pd.DataFrame) -> Spine:
    """Return the spine of a pandas frame; `moments.utc_times` says how its column of moments is read.

    Raise Feast's ``EntityTimestampInferenceException`` where it has no ``event_timestamp`` and not exactly one column of
    times, and `MomentError` where its moments are no times or a column cannot be read.
    """
    if not frame.columns.is_unique:
        twice = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
        raise MomentError(f"the entity frame has two columns of one name ({', '.join(twice)}); rename one")
    event = infer_event_timestamp_from_entity_df(dict(frame.dtypes))
    frame = frame.assign(**{event: utc_times(frame[event], event)})
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except pa.ArrowException as error:
        raise MomentError(f"the entity frame cannot be read: {error}") from error
    return _spine_of_table(table, event)


def spine_of_query(connection: psycopg.Connection[Any], query: str) -> Spine:
    """Run the caller's SQL and return the spine of its result; errors as for `spine_of_frame` and ``read_table``."""
    table = decode.read_table(connection, sql.SQL(query))
    event = infer_event_timestamp_from_entity_df(dict(table.slice(0, 0).to_pandas().dtypes))
    if not pa.types.is_timestamp(table.schema.field(event).type):
        raise MomentError(
            f"the entity SQL gives {event} as {table.schema.field(event).type}, which is no time. Convert it: "
            f"{event}::timestamptz for texts, to_timestamp({event} / 1000.0) for milliseconds since 1970"
        )
    return _spine_of_table(table, event)


def _spine_of_table(table: pa.Table, event: str) -> Spine:
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):  # pandas' categories
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    moments = table.column(event).combine_chunks()
    present = np.asarray(moments.is_valid().to_numpy(zero_copy_only=False))
    us = encode.microseconds(moments)
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            given = table.column(i).combine_chunks()
            column = pa.array(encode.microseconds(given), pa.int64()).cast(_TIME)
            table = table.set_column(i, field.name, pc.if_else(given.is_valid(), column, pa.scalar(None, _TIME)))
    return Spine(table, event, us, present)


@dataclass(frozen=True, slots=True)
class Asked:
    """Entity rows that can have a row of a view, sorted by moment; ``keys`` holds the distinct values of each key part.

    (n,) arrays: position of the ``row`` in the spine, ``moment`` in microseconds since 1970 UTC, and ``code``, the
    position of its key in ``keys``.
    """

    keys: tuple[pa.Array, ...]
    row: _Ints
    moment: _Ints
    code: _Ints

    @property
    def begin(self) -> int:
        return int(self.moment[0])

    @property
    def end(self) -> int:
        return int(self.moment[-1])

    def part(self, chosen: Any) -> Asked:
        """Return the rows that a slice or a mask chooses."""
        return replace(self, row=self.row[chosen], moment=self.moment[chosen], code=self.code[chosen])


def asked_of_spine(spine: Spine, names: Sequence[str]) -> Asked:
    """Return the rows of a spine that have a moment and whose key columns `names` are not null."""
    missing = set(names) - set(spine.table.column_names)
    if missing:
        raise FeastEntityDFMissingColumnsError(set(names), missing)
    codes = np.zeros(spine.table.num_rows, np.int64)
    present = spine.present
    parts = []
    for name in names:
        encoded = spine.table.column(name).combine_chunks().dictionary_encode()
        parts.append(encoded.dictionary)
        present = present & encoded.is_valid().to_numpy(zero_copy_only=False)
        indices = np.asarray(pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False), np.int64)
        codes = codes * max(1, len(encoded.dictionary)) + indices
    rows = np.flatnonzero(present)
    moments = spine.moments[rows]
    if (moments[1:] < moments[:-1]).any():
        rows = rows[order_of(moments)]
    distinct, codes = _distinct(codes[rows])
    columns = []
    for part in reversed(parts):
        distinct, index = np.divmod(distinct, max(1, len(part)))
        columns.append(part.take(pa.array(index)))
    return Asked(tuple(reversed(columns)), rows, spine.moments[rows], codes)


def order_of(times: _Ints) -> _Ints:
    """Return the order of times, equal ones as they stand or in any order.

    Where a time and its position fit into one number, these are sorted, which takes a tenth of the time of ``argsort``.
    """
    if not len(times):
        return np.empty(0, np.int64)
    bits = len(times).bit_length()
    first = times.min()
    if (int(times.max()) - int(first)).bit_length() + bits > 63:
        return np.argsort(times)
    return np.sort((times - first << bits) + np.arange(len(times))) & (1 << bits) - 1


def _distinct(codes: _Ints) -> tuple[_Ints, _Ints]:
    """Return the distinct values of codes, sorted, and the position of each code among them; small ones need no sorting."""
    if not len(codes) or codes.max() > 4 * len(codes):
        distinct, positions = np.unique(codes, return_inverse=True)
        return distinct, positions
    present = np.zeros(int(codes.max()) + 1, np.bool_)
    present[codes] = True
    return np.flatnonzero(present), (np.cumsum(present) - 1)[codes]


def upload_asked(connection: psycopg.Connection[Any], asked: Asked) -> None:
    """Make `ASKED` of the rows."""
    codes = pa.array(asked.code)
    n = (TYPES["Int64"], encode.integers(asked.row))
    t = (TYPES["UnixTimestamp"], encode.times(asked.moment))
    _upload(connection, ASKED, {"n": n, "t": t, **_encoded([part.take(codes) for part in asked.keys])})


def upload_keys(connection: psycopg.Connection[Any], asked: Asked) -> None:
    """Make `KEYS` of the distinct keys."""
    count = len(asked.keys[0]) if asked.keys else 1
    number = (TYPES["Int64"], encode.integers(np.arange(count)))
    void = (TYPES["Float64"], encode.Fixed(np.repeat(VOID, count).astype(">f8")))
    _upload(connection, KEYS, {"id": number, "void": void, **_encoded(asked.keys)})


def key_columns(count: int) -> list[str]:
    """Return the names of `count` key columns of `ASKED` and `KEYS`."""
    return [f"k{i}" for i in range(count)]


def _encoded(keys: Sequence[pa.Array]) -> dict[str, tuple[str, encode.Column]]:
    kinds = [encode.column_type(part.type) for part in keys]
    columns = ((kind, encode.column_of(part, kind)) for part, kind in zip(keys, kinds, strict=True))
    return dict(zip(key_columns(len(keys)), columns, strict=True))


def _upload(
    connection: psycopg.Connection[Any], table: sql.Identifier, columns: Mapping[str, tuple[str, encode.Column]]
) -> None:
    """Make a temporary table of columns, each a type and values. The planner chooses by its statistics."""
    definitions = column_definitions({name: kind for name, (kind, _) in columns.items()})
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
        cursor.execute(sql.SQL("CREATE TEMP TABLE {} ({}) ON COMMIT DROP").format(table, definitions))
        encode.copy_in(cursor, table, [column for _, column in columns.values()])
        cursor.execute(sql.SQL("ANALYZE {}").format(table))
