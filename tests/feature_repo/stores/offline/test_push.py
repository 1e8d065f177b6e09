"""Feast's own push reaches the offline store, on every view."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pytest
from feast import FeatureStore, FeatureView
from feast.data_source import PushMode
from feast.types import Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

from feature_repo.stores.offline import append
from feature_repo.stores.offline.tables.schema import table_of_view
from feature_repo.stores.timescale import TimescaleOfflineStore
from transforms import catalog

T0 = pd.Timestamp("2024-01-01T00:00:00.123456Z")


def frame(catalogued: catalog.View) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    columns: dict[str, Any] = {"created_timestamp": [T0 + timedelta(seconds=1)] * 3, "symbol": ["A", "B", "C"]}
    for feature in catalogued.features:
        columns[feature.name] = [7, 0, 2**53 + 1] if feature.dtype == "Int64" else [rng.normal(), None, -0.0]
    return pd.DataFrame(columns | {"event_timestamp": [T0] * 3})


def test_a_pushed_row_is_read_back_offline_and_online_with_equal_bits(
    open_store: Callable[..., FeatureStore], definitions: list[Any]
) -> None:
    store = open_store(*definitions)
    for catalogued in catalog.VIEWS:
        pushed = frame(catalogued)
        for _ in range(2):
            store.push(f"{catalogued.name}_push_source", pushed, to=PushMode.ONLINE_AND_OFFLINE)
        features = [f"{catalogued.name}:{name}" for name in catalogued.names]
        asked = pd.DataFrame({"symbol": ["A", "B", "C"], "event_timestamp": [T0 + timedelta(seconds=1)] * 3})
        offline = store.get_historical_features(asked, features).to_arrow()
        online = store.get_online_features(features, [{"symbol": s} for s in "ABC"]).to_dict()
        assert offline.num_rows == 3
        for name in catalogued.names:
            wanted = [None if pd.isna(x) else x for x in pushed[name]]
            assert list(map(repr, offline.column(name).to_pylist())) == list(map(repr, wanted))
            assert list(map(repr, online[name])) == list(map(repr, wanted))


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
            "event_timestamp": [T0.to_pydatetime()] * 2,
            "symbol": ["A", "B"],
            "__index_level_0__": [0, 1],
        }
    )
    seen: list[int] = []
    before = datetime.now(UTC)
    TimescaleOfflineStore.offline_write_batch(store.config, typed, data, seen.append)
    first, second = rows(database, "typed")
    assert first[3:] == (0.5, -5, True, "é", datetime(2024, 1, 1, tzinfo=UTC), 1)
    assert second[3:] == (None,) * 6
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
    columns = {"symbol": ["A"], "event_timestamp": [T0.to_pydatetime()], "a": [1.0], "n": [1]} | change
    data = pa.table({name: column for name, column in columns.items() if column is not None})
    with pytest.raises(ValueError, match=message):
        TimescaleOfflineStore.offline_write_batch(store.config, one, data, None)
    assert rows(database, "one") == []


def test_mapped_fields_are_written_under_either_name(
    open_store: Callable[..., FeatureStore], database: psycopg.Connection[Any], view: Callable[..., FeatureView]
) -> None:
    mapped = view("mapped", 5, {"price": Float64}, field_mapping={"px": "price"})
    store = open_store(mapped)
    for i, name in enumerate(["px", "price"]):
        data = pa.table(
            {"symbol": ["A"], "event_timestamp": [(T0 + timedelta(seconds=i)).to_pydatetime()], name: [float(i)]}
        )
        TimescaleOfflineStore.offline_write_batch(store.config, mapped, data, None)
    assert database.execute("SELECT px FROM mapped ORDER BY event_timestamp").fetchall() == [(0.0,), (1.0,)]
    asked = pd.DataFrame({"symbol": ["A"], "event_timestamp": [T0 + timedelta(days=365)]})
    assert store.get_historical_features(asked, ["mapped:price"]).to_df()["price"].isna().all()


def test_a_query_cannot_be_written_to(
    open_store: Callable[..., FeatureStore], view: Callable[..., FeatureView]
) -> None:
    queried = view("queried", 5, {"a": Float64}, table=None, query="SELECT 1")
    store = open_store(queried)
    with pytest.raises(ValueError, match="source is a query"):
        TimescaleOfflineStore.offline_write_batch(store.config, queried, pa.table({}), None)


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
    data = pa.table({"symbol": ["A"] * 10, "event_timestamp": [T0.to_pydatetime()] * 10})
    assert append.append_table(database, table_of_view(catalog.SOCIAL), data, datetime.now(UTC)) == 10
    assert sizes == [10, 5, 2, 3, 5, 2, 3]
