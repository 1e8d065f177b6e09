"""Labels and features of a frame are the same bytes with the lake and without, in one slice and in many."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from feast import FeatureStore

from feature_repo.stores.history import NAMES, reading
from feature_repo.stores.offline.join import from_lake
from feature_repo.stores.offline.lake import files
from feature_repo.stores.offline.lake.write import write
from feature_repo.stores.offline.tables.schema import table_of_view
from feature_repo.training import books, frames
from feature_repo.training.definitions import Barriers, ForwardReturn
from tests.feature_repo.stores.offline.lake import histories
from transforms import catalog
from transforms.times import us_of_datetime

T0 = datetime(2024, 1, 1, 23, 50, tzinfo=UTC)
SYMBOLS = ["A", "B", "é"]
SECONDS = 1_200
VIEW = catalog.view_of("mid_price")
LABELS = [
    ForwardReturn(timedelta(seconds=20)),
    ForwardReturn(timedelta(seconds=90), "long"),
    Barriers(timedelta(seconds=60), profit=2.0, loss=1.0, volatility="weighted_mid"),
]


def add(connection: psycopg.Connection[Any], rng: np.random.Generator, count: int) -> None:
    """Rows around a midnight: corrections, late ones, unknown prices, silences, and recomputed ones."""
    second = timedelta(seconds=1)
    for _ in range(count):
        event = T0 + int(rng.integers(-60, SECONDS + 60)) * second
        created = event + float(rng.choice([0.0, 0.3, 2.0, 40.0])) * second
        mid = None if rng.random() < 0.05 else 100.0 + float(rng.normal())
        row = (str(rng.choice(SYMBOLS)), event, created, mid, float(rng.choice([0.01, 0.02])), 0.5)
        told = (None if rng.random() < 0.5 else int(rng.choice([0, 3_000, 12_000])), bool(rng.random() < 0.3))
        connection.execute(
            "INSERT INTO microstructure (symbol, event_timestamp, created_timestamp, mid_price, spread, weighted_mid, feed_silence_ms, "
            "recomputed) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (*row, *told),
        )


@pytest.fixture
def store(
    open_store: Callable[..., FeatureStore],
    definitions: list[Any],
    database: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> FeatureStore:
    monkeypatch.setattr(from_lake, "GROUP_COST", 0)
    monkeypatch.setattr(files, "GROUP_ROWS", 100)
    made = open_store(*definitions)
    add(database, np.random.default_rng(2), 2_500)
    return made


def frame(store: FeatureStore) -> pa.Table:
    end = T0 + timedelta(seconds=SECONDS)
    parts = frames.slices(store, "signal_v1", SYMBOLS, T0, end, timedelta(seconds=1), LABELS)
    return pa.concat_tables(parts).unify_dictionaries()


def write_lake(connection: psycopg.Connection[Any], place: str) -> None:
    for view in catalog.VIEWS:
        write(connection, place, table_of_view(view))


def test_a_frame_is_the_same_with_the_lake_and_without_and_in_many_slices(
    store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lake(database, str(tmp_path))
    for history in NAMES:
        with reading(history):
            with histories.lake(None):
                alone = frame(store)
            for size in (frames.SLICE, 250):
                with histories.lake(str(tmp_path)), monkeypatch.context() as patch:
                    patch.setattr(frames, "SLICE", size)
                    found = frame(store)
                assert found.schema == alone.schema
                assert [name for name in alone.column_names if found.column(name) != alone.column(name)] == []
    assert alone.column("forward_log_return_20s").null_count < alone.num_rows


def test_prices_are_read_from_the_lake_where_it_is_as_the_database_and_never_where_it_is_stale(
    store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    asked: list[tuple[int, int]] = []
    from_database = books.Books._asked

    def counted(self: books.Books, connection: Any, symbol: str, begin_us: int, end_us: int) -> pa.Table:
        asked.append((begin_us, end_us))
        return from_database(self, connection, symbol, begin_us, end_us)

    monkeypatch.setattr(books.Books, "_asked", counted)
    base = us_of_datetime(T0)

    def prices(place: str | None) -> list[bytes]:
        with histories.lake(place), source.reading():
            found = [source.read(symbol, begin, end) for symbol, begin, end in spans]
        return [
            b"".join(column.tobytes() for column in (r.t_us, r.created_us, r.price, r.spread, r.silence_us))
            for r in found
        ]

    for turn in range(6):
        write_lake(database, str(tmp_path))
        source = books.Books(store, NAMES[turn % 2])
        spans = [
            (str(rng.choice([*SYMBOLS, "none"])), *sorted((base + rng.integers(-(10**8), 2 * 10**9, 2)).tolist()))
            for _ in range(20)
        ]
        alone = prices(None)
        asked.clear()
        assert prices(str(tmp_path)) == alone
        assert all(end - begin < 86_400_000_000 for begin, end in asked)
        from_lake_alone = [span for span in spans if span[1:] not in asked]
        assert len(from_lake_alone) > 5
        add(database, rng, 3)
        database.execute("UPDATE microstructure SET mid_price = mid_price + 1 WHERE symbol = 'A'")
        alone = prices(None)
        asked.clear()
        assert prices(str(tmp_path)) == alone


def test_a_file_of_the_lake_that_is_gone_is_read_from_the_database(
    store: FeatureStore, database: psycopg.Connection[Any], tmp_path: Path
) -> None:
    write_lake(database, str(tmp_path))
    for path in (tmp_path / VIEW.name).rglob("*.parquet"):
        path.unlink()
    source, begin = books.Books(store, "served"), us_of_datetime(T0)
    found = []
    for place in (None, str(tmp_path)):
        with histories.lake(place):
            found.append(source.read("A", begin, begin + 10**9).price.tobytes())
    assert found[0] == found[1] != b""
