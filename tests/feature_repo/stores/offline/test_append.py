"""Rows go in by binary COPY, once each, and come out with equal bits."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.binary import decode, encode
from feature_repo.stores.offline.binary.format import FLOAT8, INT8, SIGNATURE, TEXT, TRAILER
from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from transforms import catalog

VIEW = catalog.ORDER_FLOW
T0 = 1_700_000_000_000_000


def values(n: int, seed: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = rng.normal(size=(n, len(VIEW.features)))
    out[rng.random(out.shape) < 0.2] = np.nan
    count = VIEW.index["trade_count_1m"]
    out[:, count] = np.floor(out[:, count] * 100)
    return out


@pytest.fixture
def tables(database: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    migrate(database, [table_of_view(view) for view in catalog.VIEWS])
    return database


def read_back(connection: psycopg.Connection[Any]) -> pa.Table:
    query = "SELECT * FROM order_flow ORDER BY symbol, event_timestamp, created_timestamp"
    return decode.read_table(connection, sql.SQL(query))


def test_rows_come_back_with_equal_bits_and_nulls(tables: psycopg.Connection[Any]) -> None:
    n = 1_000
    symbols = [f"S{i % 3}{'é' * (i % 5)}" for i in range(n)]
    event = T0 + np.arange(n, dtype=np.int64) * 1_000_001
    written = values(n)
    assert append_rows(tables, VIEW, symbols, event, event + 7, written) == n
    table = read_back(tables)
    order = sorted(range(n), key=lambda i: (symbols[i].encode(), event[i]))
    assert table.column("symbol").to_pylist() == [symbols[i] for i in order]
    assert table.column("event_timestamp").cast(pa.int64()).to_pylist() == event[order].tolist()
    assert table.column("created_timestamp").cast(pa.int64()).to_pylist() == (event[order] + 7).tolist()
    for i, feature in enumerate(VIEW.features):
        column = table.column(feature.name)
        assert column.type == (pa.int64() if feature.dtype == "Int64" else pa.float64())
        assert column.to_pylist() == [None if np.isnan(x) else x for x in written[order, i].tolist()]


def test_the_same_rows_again_change_nothing_and_a_correction_is_a_new_row(tables: psycopg.Connection[Any]) -> None:
    event = T0 + np.arange(10, dtype=np.int64)
    assert append_rows(tables, VIEW, ["A"] * 10, event, event, values(10)) == 10
    before = read_back(tables)
    assert append_rows(tables, VIEW, ["A"] * 10, event, event, values(10, seed=8)) == 0
    assert read_back(tables) == before
    assert append_rows(tables, VIEW, ["A"] * 10, event, event + 1, values(10, seed=8)) == 10
    assert read_back(tables).num_rows == 20


def test_a_repeat_within_one_batch_is_one_row(tables: psycopg.Connection[Any]) -> None:
    event = np.array([T0, T0], np.int64)
    assert append_rows(tables, VIEW, ["A", "A"], event, event, values(2)) == 1


def test_nothing_is_written_of_no_rows(tables: psycopg.Connection[Any]) -> None:
    none = np.empty(0, np.int64)
    assert append_rows(tables, VIEW, [], none, none, np.empty((0, len(VIEW.features)))) == 0


def test_a_callers_transaction_is_his_to_undo(postgres_url: str, tables: psycopg.Connection[Any]) -> None:
    event = np.array([T0], np.int64)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("SELECT 1")
        for delay in (0, 1):
            assert append_rows(connection, VIEW, ["A"], event, event + delay, values(1)) == 1
        connection.rollback()
    assert read_back(tables).num_rows == 0


def test_a_count_that_is_not_whole_is_refused_and_nothing_written(tables: psycopg.Connection[Any]) -> None:
    event = np.array([T0], np.int64)
    broken = values(1)
    broken[0, VIEW.index["trade_count_1m"]] = 1.5
    with pytest.raises(ValueError, match="whole number"):
        append_rows(tables, VIEW, ["A"], event, event, broken)
    assert read_back(tables).num_rows == 0


def test_shapes_that_do_not_agree_are_refused(tables: psycopg.Connection[Any]) -> None:
    event = np.array([T0], np.int64)
    with pytest.raises(ValueError, match=r"2 symbols, .* times \(1,\)"):
        append_rows(tables, VIEW, ["A", "B"], event, event, values(2))


def test_a_symbol_is_data_and_never_sql(tables: psycopg.Connection[Any]) -> None:
    name = "'; DROP TABLE order_flow; --"
    event = np.array([T0], np.int64)
    append_rows(tables, VIEW, [name], event, event, values(1))
    assert read_back(tables).column("symbol").to_pylist() == [name]


def test_writers_of_the_same_rows_in_other_orders_do_not_block_each_other(
    postgres_url: str, tables: psycopg.Connection[Any]
) -> None:
    n = 2_000
    symbols = [f"S{i % 7}" for i in range(n)]
    event = T0 + np.arange(n, dtype=np.int64) // 7
    written = values(n)
    counts: list[int] = []

    def write(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(n)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            shuffled = [symbols[i] for i in order]
            counts.append(append_rows(connection, VIEW, shuffled, event[order], event[order], written[order]))

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(counts) == 4
    assert sum(counts) == n
    assert read_back(tables).num_rows == n


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
