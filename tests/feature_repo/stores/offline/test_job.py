"""What a retrieval gives back: its metadata, its types, its stored result."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from feast import FeatureStore
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import (
    SavedDatasetPostgreSQLStorage,
)

from tests.feature_repo.stores.offline.two_views import FEATURES, asked, at


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
