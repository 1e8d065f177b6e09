"""What is said of rows is the same whether they come from the lake or from the database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from feast import FeatureStore, FeatureView
from feast.types import Float64, Int64

from feature_repo.stores.offline.binary import hashes
from feature_repo.stores.offline.join import digest
from feature_repo.stores.offline.lake import files
from tests.feature_repo.stores.offline.lake import histories


@pytest.fixture
def store(
    open_store: Callable[..., FeatureStore],
    view: Callable[..., FeatureView],
    database: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> FeatureStore:
    monkeypatch.setattr(files, "GROUP_ROWS", 13)
    monkeypatch.setattr(digest, "_TOGETHER", 2)
    return open_store(view("quick", 5, {"a": Float64, "n": Int64}), view("slow", 0, {"b": Float64}))


@pytest.fixture
def read_from_the_database(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The spans that were read from the database."""
    spans: list[Any] = []
    asked = digest._of_database

    def noted(*args: Any) -> Any:
        spans.append(args[-1])
        return asked(*args)

    monkeypatch.setattr(digest, "_of_database", noted)
    return spans


def told(database: psycopg.Connection[Any], store: FeatureStore, place: str | None, *asked: Any) -> Any:
    with histories.lake(place), database.transaction():
        database.execute("SET LOCAL TimeZone = 'UTC'")
        return [
            digest.digests(database, table, features, *asked)
            for table in histories.tables(store)
            for features in (histories.COLUMNS[table.name[-1]], histories.COLUMNS[table.name[-1]][:1])
        ]


@pytest.mark.parametrize("seed", range(12))
def test_digests_of_random_histories_are_those_of_the_database(
    store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path, seed: int, read_from_the_database: list[Any]
) -> None:
    rng = np.random.default_rng(seed)
    for name in histories.COLUMNS:
        histories.add(database, rng, name, 250)
    database.execute("UPDATE quick SET kernels = 3 WHERE random() < 0.5")
    histories.write_lake(database, store, str(tmp_path))
    for _ in range(4):
        first, last = sorted(histories.T0 + timedelta(seconds=histories.moment(rng)) for _ in range(2))
        span = (None if rng.random() < 0.2 else first, last)
        symbols = list(rng.choice([*histories.SYMBOLS, "unknown"], rng.integers(1, 4), replace=False))
        wanted = told(database, store, None, symbols, span)
        assert told(database, store, str(tmp_path), symbols, span) == wanted
        histories.change(database, rng)
    histories.add(database, rng, "quick", 100)  # one of the changes may have taken all
    read_from_the_database.clear()
    histories.write_lake(database, store, str(tmp_path))
    whole = (histories.T0, histories.T0 + timedelta(days=1, seconds=-1))
    found = told(database, store, str(tmp_path), ["A", "B"], whole)
    assert read_from_the_database == []
    assert found == told(database, store, None, ["A", "B"], whole)
    assert sum(of.rows for of in found[0].values()) > 10


def test_a_file_that_is_away_and_a_server_that_hashes_otherwise_are_read_from_the_database(
    store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories.add(database, np.random.default_rng(1), "quick", 50)
    histories.write_lake(database, store, str(tmp_path))
    span = (None, datetime(2025, 1, 1, tzinfo=UTC))
    wanted = told(database, store, None, ["A"], span)
    monkeypatch.setattr(hashes, "agree", lambda connection: False)
    assert told(database, store, str(tmp_path), ["A"], span) == wanted
    monkeypatch.undo()
    for path in tmp_path.rglob("*.parquet"):
        path.unlink()
    assert told(database, store, str(tmp_path), ["A"], span) == wanted
