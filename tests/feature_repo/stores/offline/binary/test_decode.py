"""Bytes of the binary format become Arrow columns."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from feature_repo.stores.offline.binary import decode, encode
from feature_repo.stores.offline.binary.format import FLOAT8, INT8, SIGNATURE, TEXT, TRAILER

row = st.tuples(
    st.one_of(st.none(), st.floats(allow_nan=False), st.sampled_from([np.inf, -np.inf, -0.0, 5e-324])),
    st.one_of(st.none(), st.text(max_size=9)),
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(row, min_size=1))
def test_the_wire_format_is_read_back_as_it_was_written(rows: list[tuple[Any, ...]]) -> None:
    number = pa.array([r[0] for r in rows], pa.float64())
    text = pa.array([r[1] for r in rows], pa.string())
    whole = pa.array([r[2] for r in rows], pa.int64())
    columns = [
        encode.doubles(number.to_numpy(zero_copy_only=False).astype(np.float64)),
        encode.texts(text),
        encode.integers(np.array([r[2] or 0 for r in rows], np.int64), whole.is_null().to_numpy(zero_copy_only=False)),
    ]
    stream = b"".join(encode.encode(columns))[len(SIGNATURE) : -len(TRAILER)]
    messages = []
    for _ in rows:
        size = 2
        for _field in range(3):
            size += 4 + max(0, int.from_bytes(stream[size : size + 4], "big", signed=True))
        messages.append(stream[:size])
        stream = stream[size:]
    assert stream == b""
    assert decode.decode_rows(messages, [FLOAT8, TEXT, INT8]) == [number, text, whole]


def test_every_type_is_decoded_as_feast_gives_it(database: psycopg.Connection[Any]) -> None:
    query = (
        "SELECT 1::smallint AS small, 2.5::real AS single, 1.5::numeric AS amount, DATE '1999-12-31' AS day, "
        "TIMESTAMP '2024-01-01 00:00:00.000001' AS moment, 'x'::varchar AS name, '\\x00ff'::bytea AS raw, true AS flag, "
        "'00000000-0000-0000-0000-000000000001'::uuid AS id, NULL::text AS nothing"
    )
    row = decode.read_table(database, sql.SQL(query)).to_pylist()[0]
    assert row == {
        "small": 1,
        "single": 2.5,
        "amount": 1.5,
        "day": datetime(1999, 12, 31),  # noqa: DTZ001  # as Feast gives it
        "moment": datetime(2024, 1, 1, microsecond=1),  # noqa: DTZ001
        "name": "x",
        "raw": b"\x00\xff",
        "flag": True,
        "id": "00000000-0000-0000-0000-000000000001",
        "nothing": None,
    }


def test_a_result_without_rows_has_its_columns(database: psycopg.Connection[Any]) -> None:
    table = decode.read_table(database, sql.SQL("SELECT 1.5 AS x, 'a' AS y WHERE false"))
    assert table.schema == pa.schema({"x": pa.float64(), "y": pa.string()})
    assert table.num_rows == 0


def test_rows_come_in_batches(database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "BATCH", 7)
    table = decode.read_table(database, sql.SQL("SELECT g, repeat('x', g % 3) AS t FROM generate_series(1, 30) AS g"))
    assert [len(chunk) for chunk in table.column("g").chunks] == [7, 7, 7, 7, 2]
    assert table.column("g").to_pylist() == list(range(1, 31))


@pytest.mark.parametrize("query", ["SELECT ARRAY[1] AS a", "SELECT 1 AS a, 2 AS a", "SELECT '{}'::jsonb AS a"])
def test_what_is_not_decoded_here_is_refused(database: psycopg.Connection[Any], query: str) -> None:
    with pytest.raises(decode.UnsupportedTypeError):
        decode.read_table(database, sql.SQL(query))


@pytest.mark.parametrize("value", ["'infinity'::timestamptz", "'-infinity'::timestamp", "'infinity'::date"])
def test_an_infinite_time_is_refused(database: psycopg.Connection[Any], value: str) -> None:
    with pytest.raises(OverflowError, match="infinite"):
        decode.read_table(database, sql.SQL(f"SELECT {value} AS t"))
