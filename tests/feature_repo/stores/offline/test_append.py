"""Rows go in by binary COPY, once each, and come out with equal bits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pytest
from feast import FeatureStore, FeatureView
from feast.types import Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp
from psycopg import sql

from feature_repo.stores.offline import append
from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.binary import decode
from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from feature_repo.stores.timescale import TimescaleOfflineStore
from transforms import catalog

VIEW = catalog.ORDER_FLOW

T0 = 1_700_000_000_000_000


def values(n: int, seed: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = rng.normal(size=(n, len(VIEW.features)))
    out[rng.random(out.shape) < 0.2] = np.nan
    counts = [i for i, feature in enumerate(VIEW.features) if feature.dtype == "Int64"]
    out[:, counts] = np.floor(out[:, counts] * 100)
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
            assert append_rows(connection, VIEW, ["A"], event, event + delay, values(1, seed=delay)) == 1
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


AT = pd.Timestamp("2024-01-01T00:00:00.123456Z")


def rows(connection: psycopg.Connection[Any], table: str) -> list[tuple[Any, ...]]:
    return connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()  # noqa: S608


def test_every_primitive_type_is_written(
    open_store: Callable[..., FeatureStore], database: psycopg.Connection[Any], view: Callable[..., FeatureView]
) -> None:
    kinds = {"f": Float32, "i": Int32, "b": Bool, "s": String, "t": UnixTimestamp, "n": Int64}
    typed = view("typed", 5, kinds)
    store = open_store(typed)
    data = pa.table(
        {
            "n": pa.array([1.0, None]),  # pandas makes doubles of whole numbers with a null
            "t": pa.array([datetime(2024, 1, 1), None], pa.timestamp("ns")),  # noqa: DTZ001  # no zone is UTC
            "s": ["é", None],
            "b": [True, None],
            "i": [-5, None],
            "f": [0.5, None],
            "event_timestamp": [AT.to_pydatetime()] * 2,
            "symbol": ["A", "B"],
            "__index_level_0__": [0, 1],
        }
    )
    seen: list[int] = []
    before = datetime.now(UTC)
    TimescaleOfflineStore.offline_write_batch(store.config, typed, data, seen.append)
    first, second = rows(database, "typed")
    assert first[3:-3] == (0.5, -5, True, "é", datetime(2024, 1, 1, tzinfo=UTC), 1)
    assert second[3:] == (*(None,) * 8, False), (
        "the silence and the makers of a pushed row are unknown, too; it counts as served"
    )
    assert before <= first[2] <= datetime.now(UTC)
    assert seen == [2]


def test_a_row_is_never_available_before_it_happened(
    open_store: Callable[..., FeatureStore], database: psycopg.Connection[Any], view: Callable[..., FeatureView]
) -> None:
    one = view("one", 5, {"a": Float64})
    store = open_store(one)
    future = datetime.now(UTC) + timedelta(days=1)
    given = datetime(2024, 1, 1, tzinfo=UTC)
    data = pa.table(
        {
            "symbol": ["A", "B", "C"],
            "event_timestamp": [future, given, given],
            "created_timestamp": pa.array([None, given, None], pa.timestamp("us", "UTC")),
        }
    )
    before = datetime.now(UTC)
    TimescaleOfflineStore.offline_write_batch(store.config, one, data, None)
    created = [row[2] for row in rows(database, "one")]
    assert created[:2] == [future, given]
    assert before <= created[2] <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stray": [1.0]}, r"unknown columns \['stray'\]"),
        ({"symbol": pa.array([None], pa.string())}, r"missing or null \['symbol'\]"),
        ({"event_timestamp": None}, r"missing or null \['event_timestamp'\]"),
        ({"a": ["text"]}, r"one\.a: "),
        ({"n": [1.5]}, "whole number"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_whole(
    open_store: Callable[..., FeatureStore],
    database: psycopg.Connection[Any],
    change: dict[str, Any],
    message: str,
    view: Callable[..., FeatureView],
) -> None:
    one = view("one", 5, {"a": Float64, "n": Int64})
    store = open_store(one)
    columns = {"symbol": ["A"], "event_timestamp": [AT.to_pydatetime()], "a": [1.0], "n": [1]} | change
    data = pa.table({name: column for name, column in columns.items() if column is not None})
    with pytest.raises(ValueError, match=message):
        TimescaleOfflineStore.offline_write_batch(store.config, one, data, None)
    assert rows(database, "one") == []


def test_a_slice_that_touches_too_many_compressed_rows_is_written_in_halves(
    database: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def limited(connection: Any, table: Any, columns: Any) -> int:
        sizes.append(len(columns[1].values))
        if sizes[-1] > 3:
            raise psycopg.errors.ConfigurationLimitExceeded("tuple decompression limit exceeded")
        return sizes[-1]

    monkeypatch.setattr(append, "append_columns", limited)
    data = pa.table({"symbol": ["A"] * 10, "event_timestamp": [AT.to_pydatetime()] * 10})
    assert append.append_table(database, table_of_view(catalog.SOCIAL), data, datetime.now(UTC)) == 10
    assert sizes == [10, 5, 2, 3, 5, 2, 3]
