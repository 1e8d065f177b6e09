"""What the lake and the database give together is what the database gives alone, bit for bit, whatever happened to the rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pytest
from feast import FeatureStore, FeatureView
from feast.types import Float64, Int64

from feature_repo.stores.history import NAMES, reading
from feature_repo.stores.offline.join import from_lake, lake_values
from feature_repo.stores.offline.lake import files
from tests.feature_repo.stores.offline.lake import histories

HISTORIES = int(os.environ.get("TFS_TEST_HISTORIES", "10"))
FIRST = int(os.environ.get("TFS_TEST_FIRST", "0"))


@pytest.fixture
def store(open_store: Callable[..., FeatureStore], view: Callable[..., FeatureView], request: Any) -> FeatureStore:
    return open_store(view("quick", 5, {"a": Float64, "n": Int64}), view("slow", 0, {"b": Float64}))


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Read the lake for few rows, too, from small row groups and in small pieces; count the entity rows that it answers."""
    counts: list[int] = []
    fill = from_lake.fill

    def counted(view: Any, lookup: Any, asked: Any, *others: Any) -> Any:
        finish = fill(view, lookup, asked, *others)

        def finish_counted() -> Any:
            rest = finish()
            counts.append(len(asked.row) - len(rest.row))
            return rest

        return finish_counted

    monkeypatch.setattr(from_lake, "fill", counted)
    monkeypatch.setattr(from_lake, "GROUP_COST", 0)
    monkeypatch.setattr(from_lake, "PIECE_ROWS", 70)
    monkeypatch.setattr(files, "GROUP_ROWS", 13)
    return counts


def compare(store: FeatureStore, place: str, rng: np.random.Generator) -> None:
    """Hold one of the two ways to read a history, known or not, against the database alone."""
    frame = histories.frame(rng, 120 * histories.TOGETHER, histories.TOGETHER)
    history, known, is_far = str(rng.choice(NAMES)), bool(rng.random() < 0.5), bool(rng.random() < 0.3)
    found = []
    for lake in (None, place):
        with reading(history), histories.lake(lake, is_far=is_far):
            job = store.get_historical_features(frame, histories.FEATURES, filter_by_created_timestamp=known)
            found.append(histories.bits(job.to_arrow()))
    assert found[0] == found[1], (history, known, is_far)


def compare_periods(store: FeatureStore, place: str, rng: np.random.Generator) -> None:
    """Hold the rows of a view between two times against the database alone."""
    number = int(rng.integers(0, histories.TOGETHER - 1))
    moments = [histories.moment(rng, one) for one in (number, number + int(rng.random() < 0.2))]
    first, last = sorted(histories.T0 + timedelta(seconds=seconds) for seconds in moments)
    history, name = str(rng.choice(NAMES)), str(rng.choice(list(histories.COLUMNS)))
    features = [f"{name}:{feature}" for feature in histories.COLUMNS[name]]
    found = []
    for lake in (None, place):
        with reading(history), histories.lake(lake):
            job = store.get_historical_features(None, features, start_date=first, end_date=last)
            found.append(histories.bits(job.to_arrow()))
    assert found[0] == found[1], (name, history)


def test_random_histories_give_the_same_with_the_lake_and_without(
    store: FeatureStore,
    database: psycopg.Connection[Any],
    tmp_path: Path,
    answered: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(FIRST, FIRST + HISTORIES, histories.TOGETHER):
        rng = np.random.default_rng(seed)
        # Each value alone, or as how many are asked for.
        monkeypatch.setattr(lake_values, "SPARSE", rng.choice([0, 16]))
        database.execute("TRUNCATE quick, slow")
        for name in histories.COLUMNS:
            for number in range(histories.TOGETHER):
                histories.add(database, rng, name, int(rng.integers(20, 300)), number)
        # A new lake, or one that has days of other rows.
        place = str(tmp_path / f"lake{seed if seed // histories.TOGETHER % 2 else ''}")
        with histories.killed(at=0) as steps:  # never
            histories.write_lake(database, store, place)
        answered.clear()
        compare(store, place, rng)
        assert sum(answered) > 100 * histories.TOGETHER, seed
        compare_periods(store, place, rng)
        for _ in range(2):
            for number in range(histories.TOGETHER):
                if rng.random() < 0.7:
                    histories.change(database, rng, number)
            compare(store, place, rng)
            compare_periods(store, place, rng)
            with histories.killed(at=int(rng.integers(1, steps[0]))):  # most write fewer days than the first time
                histories.write_lake(database, store, place)


def test_the_newest_row_hides_those_of_the_row_group_before_although_its_feed_was_silent(
    store: FeatureStore,
    database: psycopg.Connection[Any],
    tmp_path: Path,
    answered: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "GROUP_ROWS", 2)
    for second, silence in ((1, 0), (2, 0), (3, 9_000)):
        at = histories.T0 + timedelta(seconds=second)
        database.execute(
            "INSERT INTO quick (symbol, event_timestamp, created_timestamp, a, feed_silence_ms) VALUES ('A', %s, %s, 1.5, %s)",
            (at, at, silence),
        )
    histories.write_lake(database, store, str(tmp_path))
    frame = pd.DataFrame({"symbol": "A", "event_timestamp": [histories.T0 + timedelta(seconds=s) for s in (2.5, 3.5)]})
    with histories.lake(str(tmp_path)):
        found = store.get_historical_features(frame, ["quick:a"]).to_arrow()
    assert (found["a"].to_pylist(), answered) == ([1.5, None], [2])
