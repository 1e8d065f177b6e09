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

from feature_repo.stores.errors import UserError
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


ARRAYS = {
    "double precision": (st.floats(allow_nan=False) | st.none(), pa.float64()),
    "real": (st.floats(allow_nan=False, width=32) | st.none(), pa.float32()),
    "bigint": (st.integers(-(2**63), 2**63 - 1) | st.none(), pa.int64()),
    "integer": (st.integers(-(2**31), 2**31 - 1), pa.int32()),
    "smallint": (st.integers(-(2**15), 2**15 - 1) | st.none(), pa.int32()),
    "boolean": (st.booleans() | st.none(), pa.bool_()),
    "text": (st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5) | st.none(), pa.string()),
    "bytea": (st.binary(max_size=5) | st.none(), pa.binary()),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_are_read_as_they_were_written(database: psycopg.Connection[Any], kind: str) -> None:
    element, arrow = ARRAYS[kind]

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.none() | st.lists(element, max_size=6), max_size=6))
    def check(rows: list[Any]) -> None:
        values = sql.SQL(", ").join(sql.SQL("({}, {})").format(i, row) for i, row in enumerate([*rows, None]))
        query = sql.SQL("SELECT v::{} FROM (VALUES {}) AS given(i, v) ORDER BY i").format(sql.SQL(kind + "[]"), values)
        found = decode.read_table(database, query).column("v")
        assert found.type == pa.list_(arrow)
        found.validate(full=True)
        assert list(map(repr, found.to_pylist())) == list(map(repr, [*rows, None]))

    check()


def test_arrays_of_times_decimals_and_identifiers_come_as_feast_names_their_types(
    database: psycopg.Connection[Any],
) -> None:
    query = (
        "SELECT ARRAY[TIMESTAMPTZ '2024-01-01 00:00:00.000001Z', NULL] AS moments, ARRAY[DATE '1999-12-31'] AS days, "
        "ARRAY[1.5, NULL, 2]::numeric[] AS amounts, ARRAY['00000000-0000-0000-0000-000000000001'::uuid] AS ids, "
        "'{}'::varchar[] AS nothing, '[2:3]={7,8}'::bigint[] AS counted_from_two, '{\"a\": 1}'::jsonb AS document"
    )
    assert decode.read_table(database, sql.SQL(query)).to_pylist() == [
        {
            "moments": [datetime(2024, 1, 1, microsecond=1), None],  # noqa: DTZ001  # as Feast gives it
            "days": [datetime(1999, 12, 31)],  # noqa: DTZ001
            "amounts": [1.5, None, 2.0],
            "ids": ["00000000-0000-0000-0000-000000000001"],
            "nothing": [],
            "counted_from_two": [7, 8],
            "document": '{"a": 1}',
        }
    ]


def test_an_array_of_arrays_is_refused_with_what_to_do(database: psycopg.Connection[Any]) -> None:
    with pytest.raises(UserError, match="2 dimensions is not read; give the view a query"):
        decode.read_table(database, sql.SQL("SELECT ARRAY[[1, 2], [3, 4]] AS matrix"))


def test_a_type_that_nothing_knows_is_read_as_text_and_said_once(
    database: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    database.execute("CREATE TYPE mood AS ENUM ('calm', 'wild')")
    query = sql.SQL("SELECT 'calm'::mood AS mood, INTERVAL '90 s' AS span, INET '::1' AS host")
    for _ in range(2):
        assert decode.read_table(database, query).to_pylist() == [
            {"mood": "calm", "span": "00:01:30", "host": "::1/128"}
        ]
    said = [record.message for record in caplog.records]
    assert said == [
        "a query: column mood of type mood is read as text",
        "a query: column span of type interval is read as text",
        "a query: column host of type inet is read as text",
    ]


def test_a_result_without_rows_has_its_columns(database: psycopg.Connection[Any]) -> None:
    table = decode.read_table(database, sql.SQL("SELECT 1.5 AS x, 'a' AS y WHERE false"))
    assert table.schema == pa.schema({"x": pa.float64(), "y": pa.string()})
    assert table.num_rows == 0


def test_rows_come_in_batches(database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "BATCH", 7)
    table = decode.read_table(database, sql.SQL("SELECT g, repeat('x', g % 3) AS t FROM generate_series(1, 30) AS g"))
    assert [len(chunk) for chunk in table.column("g").chunks] == [7, 7, 7, 7, 2]
    assert table.column("g").to_pylist() == list(range(1, 31))


def test_two_columns_of_one_name_are_refused(database: psycopg.Connection[Any]) -> None:
    with pytest.raises(decode.DuplicateColumnError, match=r"\(a\); rename one"):
        decode.read_table(database, sql.SQL("SELECT 1 AS a, 2 AS a"))


@pytest.mark.parametrize("value", ["'infinity'::timestamptz", "'-infinity'::timestamp", "'infinity'::date"])
def test_an_infinite_time_is_refused(database: psycopg.Connection[Any], value: str) -> None:
    with pytest.raises(OverflowError, match="infinite"):
        decode.read_table(database, sql.SQL(f"SELECT {value} AS t"))
