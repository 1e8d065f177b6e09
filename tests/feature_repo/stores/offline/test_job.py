"""What a retrieval gives back: its metadata, its types, its stored result."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import psycopg
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, ValueType
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import (
    PostgreSQLSource,
    SavedDatasetPostgreSQLStorage,
)
from feast.types import Array, Float64, String

from feature_repo.stores.timescale import TimescaleOfflineStore
from tests.feature_repo.stores.offline.two_views import FEATURES, T0, asked, at


def test_sql_gives_entity_rows_too(store: FeatureStore) -> None:
    query = (
        "SELECT v.symbol, v.t::timestamptz AS event_timestamp, 1.5::numeric AS weight FROM "
        "(VALUES ('B', '2024-01-01 00:00:03Z'), ('A', '2024-01-01 00:00:04Z')) AS v(symbol, t)"
    )
    job = store.get_historical_features(query, FEATURES)
    result = job.to_arrow()
    assert result.column("symbol").to_pylist() == ["B", "A"]
    assert result.column("weight").to_pylist() == [1.5, 1.5]
    assert result.column("n").to_pylist() == [20, 10]
    assert sorted(job.metadata.keys) == ["symbol", "weight"]
    assert job.metadata.max_event_timestamp == at(4).replace(tzinfo=None)


def test_types_that_are_not_decoded_here_take_feasts_own_way(
    open_store: Callable[..., FeatureStore], database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE TABLE vectors (symbol text, t timestamptz, v double precision[], at date, id uuid)")
    database.execute("INSERT INTO vectors VALUES ('A', %s, '{1,2}', '2024-01-02', gen_random_uuid())", (T0,))
    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    source = PostgreSQLSource(name="vectors_table", query="SELECT * FROM vectors", timestamp_field="t")
    vectors = FeatureView(
        name="vectors",
        entities=[symbol],
        schema=[Field(name="symbol", dtype=String), Field(name="v", dtype=Array(Float64))],
        source=source,
    )
    store = open_store(vectors)
    assert store.get_historical_features(asked(("A", 1)), ["vectors:v"]).to_arrow().column("v").to_pylist() == [
        [1.0, 2.0]
    ]
    pulled = TimescaleOfflineStore.pull_all_from_table_or_query(
        store.config, source, ["symbol"], ["at", "v"], "t", None, T0, at(1)
    )
    assert pulled.to_arrow().column("at").to_pylist() == [datetime(2024, 1, 2)]  # noqa: DTZ001  # as Feast gives it


@pytest.mark.filterwarnings("ignore:.* is an experimental feature:RuntimeWarning")  # so Feast calls it
def test_a_result_is_stored_once_and_overwritten_only_when_told(
    store: FeatureStore, database: psycopg.Connection[Any]
) -> None:
    job = store.get_historical_features(asked(("A", 5), ("Z", 1)), FEATURES)
    saved = store.create_saved_dataset(job, "training", SavedDatasetPostgreSQLStorage("training_set"))
    assert saved.to_df()[["symbol", "a", "n"]].sort_values("symbol")["a"].tolist()[0] == 1.5
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(SavedDatasetPostgreSQLStorage("training_set"))
    store.get_historical_features(asked(("B", 1)), FEATURES).persist(
        SavedDatasetPostgreSQLStorage("training_set"), allow_overwrite=True
    )
    assert database.execute("SELECT symbol, n FROM training_set").fetchall() == [("B", 20)]
