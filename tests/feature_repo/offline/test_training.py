"""Training frames: what was known at each moment, and a label that looks only ahead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore

from feature_repo.stores import training
from feature_repo.stores.copy import append_rows
from transforms import catalog

T0 = datetime(2024, 1, 1, tzinfo=UTC)
VIEW = catalog.MICROSTRUCTURE
MINUTE = timedelta(minutes=1)


def put(connection: psycopg.Connection[Any], rows: list[tuple[str, float, float, float]]) -> None:
    """Write ``(symbol, event, created, mid_price)``, times in seconds after `T0`."""
    values = np.full((len(rows), len(VIEW.features)), np.nan)
    values[:, VIEW.index["mid_price"]] = [r[3] for r in rows]
    base = int(T0.timestamp()) * 1_000_000
    event, created = (np.array([base + round(r[i] * 1e6) for r in rows], np.int64) for i in (1, 2))
    append_rows(connection, VIEW, [r[0] for r in rows], event, created, values)


@pytest.fixture
def store(open_store: Callable[..., FeatureStore], definitions: list[Any]) -> FeatureStore:
    return open_store(*definitions)


def frame(store: FeatureStore, seconds: int, horizon: timedelta = MINUTE, **more: Any) -> pa.Table:
    end = T0 + timedelta(seconds=seconds)
    symbols = more.get("symbols", ["A"])
    return pa.concat_tables(training.slices(store, "signal_v1", symbols, T0, end, timedelta(seconds=1), horizon))


def test_the_label_is_the_return_from_what_was_known_to_what_came(
    store: FeatureStore, database: psycopg.Connection[Any]
) -> None:
    # 100 at 0, corrected to 101 at 1.5 s; 110 at second 60, which is written 5 s late.
    put(database, [("A", 0, 0.2, 100), ("A", 0, 1.5, 101), ("A", 60, 65, 110)])
    table = frame(store, 12)
    assert table.column("event_timestamp").type == pa.timestamp("us", "UTC")
    mids = table.column("mid_price").to_pylist()
    assert mids == [None, 100, *[101] * 9, None, None]
    label = table.column("forward_log_return_60s").to_pylist()
    assert label[0] is None
    assert label[1] == pytest.approx(log(110 / 100), abs=1e-15)
    assert label[2:11] == pytest.approx([log(110 / 101)] * 9, abs=1e-15)
    assert label[11:] == [None, None]


def test_a_price_at_the_moment_itself_is_no_future(store: FeatureStore, database: psycopg.Connection[Any]) -> None:
    put(database, [("A", 0, 0, 100), ("A", 2, 2, 120)])
    label = frame(store, 1, horizon=timedelta(seconds=1)).column("forward_log_return_1s").to_pylist()
    # From 0 nothing comes in (0, 1]; from 1 the price of 2 does.
    assert label == [None, pytest.approx(log(120 / 100), abs=1e-15)]


def test_the_grid_is_every_moment_for_every_symbol_in_slices(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: psycopg.Connection[Any]
) -> None:
    put(database, [("A", 3, 3, 100), ("B", 4, 4, 200)])
    whole = frame(store, 10, symbols=["B", "A"])
    monkeypatch.setattr(training, "SLICE", 7)
    seen: list[int] = []
    path = tmp_path / "frame.parquet"
    parts = training.slices(
        store, "signal_v1", ["B", "A"], T0, T0 + timedelta(seconds=10), timedelta(seconds=1), MINUTE
    )
    assert training.write_parquet(path, parts, seen.append) == 22
    assert seen == [6, 6, 6, 4]
    assert training.grid_rows(["B", "A"], T0, T0 + timedelta(seconds=10), timedelta(seconds=1)) == 22
    assert pq.read_table(path) == whole
    assert whole.column("symbol").to_pylist() == ["B", "A"] * 11
    raw = [name for view in catalog.VIEWS if view.feed in ("book", "trade", "post") for name in view.names]
    assert whole.column_names == ["symbol", "event_timestamp", *raw, "forward_log_return_60s"]


def test_a_frame_that_failed_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Any:
        yield pa.table({"a": [1]})
        raise OSError("the server went away")

    with pytest.raises(OSError, match="went away"):
        training.write_parquet(tmp_path / "frame.parquet", broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"symbols": []}, "at least one symbol"),
        ({"horizon": timedelta(microseconds=1)}, "horizon of a millisecond"),
        ({"every": timedelta(0)}, "step must be positive"),
        ({"end": T0 - MINUTE}, "end not before"),
        ({"start": datetime(2024, 1, 1)}, "need a time zone"),  # noqa: DTZ001  # what is refused
    ],
)
def test_a_frame_that_cannot_be_is_refused(store: FeatureStore, change: dict[str, Any], message: str) -> None:
    given = {"symbols": ["A"], "start": T0, "end": T0 + MINUTE, "every": MINUTE, "horizon": MINUTE} | change
    with pytest.raises(ValueError, match=message):
        next(training.slices(store, "signal_v1", **given))
