"""All connections of a retrieval see one snapshot, and leave nothing behind."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from feast import FeatureStore

from feature_repo.stores.offline import job
from feature_repo.stores.offline.join import retrieve
from tests.feature_repo.stores.offline.two_views import FEATURES, asked, put


def test_views_read_side_by_side_are_of_one_snapshot(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = asked(*(("A", float(t)) for t in range(20)))
    wanted = store.get_historical_features(frame, FEATURES).to_arrow()
    monkeypatch.setattr(retrieve, "MANY", 1)
    monkeypatch.setattr(job.os, "cpu_count", lambda: 2)
    used: list[int] = []
    join = retrieve.join

    def after_a_write(connection: Any, spine: Any, lookups: Any, more: Any) -> Any:
        def counted() -> Any:  # the first connection has read by now
            put(store, "quick", [("A", 11, 11, 9.5, 9)])
            put(store, "slow", [("A", 11, 11, 9.5)])
            opened = more()
            used.append(1 + len(opened))
            return opened

        return join(connection, spine, lookups, counted)

    monkeypatch.setattr(retrieve, "join", after_a_write)
    assert store.get_historical_features(frame, FEATURES).to_arrow() == wanted
    assert used == [3]


def test_nothing_is_left_on_the_server_and_a_statement_may_have_a_limit(
    store: FeatureStore, database: psycopg.Connection[Any]
) -> None:
    before = database.execute("SELECT count(*) FROM pg_class").fetchone()
    store.get_historical_features(asked(("A", 5)), FEATURES).to_df()
    assert database.execute("SELECT count(*) FROM pg_class").fetchone() == before
    slow = "SELECT 'A' AS symbol, now() AS event_timestamp FROM pg_sleep(30)"
    with pytest.raises(psycopg.errors.QueryCanceled):
        store.get_historical_features(slow, FEATURES).to_arrow(timeout=1)
