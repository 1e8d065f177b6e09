"""The store as Feast uses it: its settings, retrievals, materialization and push."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pytest
from feast import FeatureStore, FeatureView, Field
from feast.data_source import PushMode
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64

from feature_repo.stores.timescale import TimescaleOfflineStore, TimescaleOfflineStoreConfig
from tests.feature_repo.stores.offline.two_views import FEATURES, T0, asked, at, put
from transforms import catalog


def test_the_server_is_looked_up_when_a_connection_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TimescaleOfflineStoreConfig()
    for port in (5433, 5434):
        monkeypatch.setenv(
            "TFS_POSTGRES_URL", f"postgresql://desk:s3cret@db:{port}/features?sslmode=verify-full&sslrootcert=ca"
        )
        assert (config.host, config.port, config.user, config.password) == ("db", port, "desk", "s3cret")
        assert (config.database, config.sslmode, config.sslrootcert_path) == ("features", "verify-full", "ca")
    assert "s3cret" not in repr(config)


def test_a_host_in_the_yaml_brings_feasts_own_rules() -> None:
    given = TimescaleOfflineStoreConfig(host="db", database="d", user="u", password="p")
    assert (given.port, given.sslmode) == (5432, "require")
    with pytest.raises(ValueError, match="a host but no database, password"):
        TimescaleOfflineStoreConfig(host="db", user="u")
    with pytest.raises(ValueError, match="port but no host"):
        TimescaleOfflineStoreConfig(port=5432)


@pytest.mark.filterwarnings("ignore:.* is an experimental feature:RuntimeWarning")  # so Feast calls it
def test_an_on_demand_view_is_computed_from_what_was_joined(
    open_store: Callable[..., FeatureStore], view: Callable[..., FeatureView]
) -> None:
    base = view("quick", 5, {"a": Float64})

    @on_demand_feature_view(sources=[base], schema=[Field(name="double_a", dtype=Float64)], mode="python")
    def doubled(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"double_a": [None if x is None else 2 * x for x in inputs["a"]]}

    store = open_store(base, doubled)
    put(store, "quick", [("A", 0, 0, 1.5)])
    result = store.get_historical_features(asked(("A", 1), ("Z", 1)), ["quick:a", "doubled:double_a"]).to_arrow()
    assert result.column("double_a").to_pylist() == [3.0, None]


def test_a_range_of_one_view_gives_its_rows_and_of_two_what_held_at_each_moment(store: FeatureStore) -> None:
    one = store.get_historical_features(features=["quick:a"], start_date=T0, end_date=at(10)).to_arrow()
    assert one.column_names == ["event_timestamp", "created_timestamp", "symbol", "a"]
    assert one.num_rows == 3
    two = store.get_historical_features(features=FEATURES, start_date=at(1), end_date=at(10)).to_arrow()
    # Rows before the range do not count, as with Feast: A's slow row of second 0 is not seen.
    assert two.to_pylist() == [
        {"event_timestamp": at(5).replace(tzinfo=None), "symbol": "B", "a": None, "n": None, "b": 8.0},
        {"event_timestamp": at(10).replace(tzinfo=None), "symbol": "A", "a": 2.5, "n": None, "b": None},
    ]
    with pytest.raises(ValueError, match="needs an entity frame"):
        store.get_historical_features(
            features=FEATURES, start_date=T0, end_date=at(9), filter_by_created_timestamp=True
        )


def test_materialize_writes_the_newest_row_of_each_symbol(store: FeatureStore) -> None:
    store.materialize(T0 - timedelta(seconds=1), at(11), feature_views=["quick"])
    online = store.get_online_features(["quick:a", "quick:n"], [{"symbol": "A"}, {"symbol": "B"}]).to_dict()
    assert online["a"] == [2.5, None]
    assert online["n"] == [None, 20]


def test_pulling_the_latest_takes_the_last_correction(store: FeatureStore) -> None:
    put(store, "slow", [("A", 0, 3, 70.0), ("A", 0, 2, 60.0)])
    job = TimescaleOfflineStore.pull_latest_from_table_or_query(
        store.config,
        store.get_feature_view("slow").batch_source,
        ["symbol"],
        ["b"],
        "event_timestamp",
        "created_timestamp",
        T0,
        at(4),
    )
    assert job.to_arrow().select(["symbol", "b"]).to_pylist() == [{"symbol": "A", "b": 70.0}]


PUSHED = pd.Timestamp("2024-01-01T00:00:00.123456Z")


def pushed_frame(catalogued: catalog.View) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    columns: dict[str, Any] = {"created_timestamp": [PUSHED + timedelta(seconds=1)] * 3, "symbol": ["A", "B", "C"]}
    for feature in catalogued.features:
        columns[feature.name] = [7, 0, 2**53 + 1] if feature.dtype == "Int64" else [rng.normal(), None, -0.0]
    return pd.DataFrame(columns | {"event_timestamp": [PUSHED] * 3})


def test_a_pushed_row_is_read_back_offline_and_online_with_equal_bits(
    open_store: Callable[..., FeatureStore], definitions: list[Any]
) -> None:
    store = open_store(*definitions)
    for catalogued in catalog.VIEWS:
        pushed = pushed_frame(catalogued)
        for _ in range(2):
            store.push(f"{catalogued.name}_push_source", pushed, to=PushMode.ONLINE_AND_OFFLINE)
        features = [f"{catalogued.name}:{name}" for name in catalogued.names]
        asked = pd.DataFrame({"symbol": ["A", "B", "C"], "event_timestamp": [PUSHED + timedelta(seconds=1)] * 3})
        offline = store.get_historical_features(asked, features).to_arrow()
        online = store.get_online_features(features, [{"symbol": s} for s in "ABC"]).to_dict()
        assert offline.num_rows == 3
        for name in catalogued.names:
            wanted = [None if pd.isna(x) else x for x in pushed[name]]
            assert list(map(repr, offline.column(name).to_pylist())) == list(map(repr, wanted))
            assert list(map(repr, online[name])) == list(map(repr, wanted))


def test_mapped_fields_are_written_under_either_name(
    open_store: Callable[..., FeatureStore], database: psycopg.Connection[Any], view: Callable[..., FeatureView]
) -> None:
    mapped = view("mapped", 5, {"price": Float64}, field_mapping={"px": "price"})
    store = open_store(mapped)
    for i, name in enumerate(["px", "price"]):
        data = pa.table(
            {"symbol": ["A"], "event_timestamp": [(PUSHED + timedelta(seconds=i)).to_pydatetime()], name: [float(i)]}
        )
        TimescaleOfflineStore.offline_write_batch(store.config, mapped, data, None)
    assert database.execute("SELECT px FROM mapped ORDER BY event_timestamp").fetchall() == [(0.0,), (1.0,)]
    asked = pd.DataFrame({"symbol": ["A"], "event_timestamp": [PUSHED + timedelta(days=365)]})
    assert store.get_historical_features(asked, ["mapped:price"]).to_df()["price"].isna().all()


def test_a_query_cannot_be_written_to(
    open_store: Callable[..., FeatureStore], view: Callable[..., FeatureView]
) -> None:
    queried = view("queried", 5, {"a": Float64}, table=None, query="SELECT 1")
    store = open_store(queried)
    with pytest.raises(ValueError, match="source is a query"):
        TimescaleOfflineStore.offline_write_batch(store.config, queried, pa.table({}), None)


def test_a_push_into_a_desks_own_table_takes_its_types(
    open_store: Callable[..., FeatureStore], database: psycopg.Connection[Any], view: Callable[..., FeatureView]
) -> None:
    database.execute(
        "CREATE TABLE fills (symbol varchar(12), event_timestamp timestamp, price numeric(9, 3), lots int)"
    )
    fills = view("fills", 60, {"price": Float64, "lots": Int64}, created_timestamp_column="")
    fills.tags = {}
    store = open_store(fills)
    rows = pa.table({"symbol": ["A"], "event_timestamp": [at(1)], "price": [101.25], "lots": [7]})
    for _ in range(2):  # the table has no unique index: what is written twice is there twice
        TimescaleOfflineStore.offline_write_batch(store.config, fills, rows, None)
    assert (
        database.execute("SELECT symbol, event_timestamp::text, price::text, lots FROM fills").fetchall()
        == [("A", "2024-01-01 00:00:01", "101.250", 7)] * 2
    )
    database.execute("ALTER TABLE fills ALTER price TYPE double precision[] USING ARRAY[price]")
    with pytest.raises(ValueError, match='fills can be read but not written to: column "price" is of type'):
        TimescaleOfflineStore.offline_write_batch(store.config, fills, rows, None)
