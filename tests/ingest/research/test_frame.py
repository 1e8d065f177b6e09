"""Frames as ``training-frame`` and others write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.research.frame import ResearchError, read
from tests.ingest.research.frames import SECOND, T0

TIMES = pa.array([T0 + i * SECOND for i in (1, 0, 0, 1)], pa.timestamp("us", "UTC"))
COLUMNS = {
    "symbol": ["B", "B", "A", "A"],
    "event_timestamp": TIMES,
    "depth": [1.0, 2.0, None, 4.0],
    "posts": [1, 2, 3, 4],
    "valid": [True, False, True, None],
    "poc": ["x", "y", "z", "x"],
    "forward_log_return_60s": [0.1, None, 0.3, 0.4],
    "forward_log_return_long_60s": [0.0, 0.0, 0.0, 0.0],
    "barrier_60s_1_1": [1, -1, 0, 1],
}


def put(path: Path, **change: object) -> Path:
    pq.write_table(pa.table({**COLUMNS, **change}), path / "frame.parquet")
    return path / "frame.parquet"


def test_rows_are_ordered_and_numbers_are_features(tmp_path: Path) -> None:
    one = read(put(tmp_path))
    assert one.names == ("depth", "posts", "valid")
    by_symbol = [one.x[rows].tolist() for rows in one.symbols]
    nan = pytest.approx(np.nan, nan_ok=True)
    assert sorted(by_symbol, key=lambda rows: rows[0][1]) == [[[2, 2, 0], [1, 1, 1]], [[nan, 3, 1], [4, 4, nan]]]
    assert list(one.returns) == [60 * SECOND]
    assert np.isnan(one.returns[60 * SECOND]).sum() == 1
    assert one.step_us == SECOND


def test_columns_may_be_named(tmp_path: Path) -> None:
    path = put(tmp_path)
    assert read(path, without=["posts"]).names == ("depth", "valid")
    one = read(path, features=["posts"], labels={"depth": 5 * SECOND})
    assert one.names == ("posts",)
    assert list(one.returns) == [5 * SECOND]


def test_the_file_may_name_its_features(tmp_path: Path) -> None:
    path = put(tmp_path)
    table = pq.read_table(path).replace_schema_metadata({"features": '["posts", "poc", "forward_log_return_long_60s"]'})
    pq.write_table(table, path)
    assert read(path).names == ("posts", "forward_log_return_long_60s")
    pq.write_table(table.replace_schema_metadata({"features": "no list"}), path)
    assert read(path).names == ("depth", "posts", "valid")


def test_a_long_frame_is_thinned_by_moments_or_read_from_its_end(tmp_path: Path) -> None:
    n = 100
    times = pa.array(np.repeat(T0 + np.arange(n) * SECOND, 2), pa.timestamp("us", "UTC"))
    table = pa.table(
        {"symbol": ["A", "B"] * n, "event_timestamp": times, "x": range(2 * n), "forward_log_return_1s": [0.0] * 2 * n}
    )
    pq.write_table(table, tmp_path / "long.parquet", row_group_size=33)
    thinned = read(tmp_path / "long.parquet", rows_max=50)
    assert thinned.step_us == 4 * SECOND
    assert thinned.x[:, 0].tolist() == [*range(0, 200, 8), *range(1, 200, 8)]
    newest = read(tmp_path / "long.parquet", rows_max=50, newest=True)
    assert newest.x[:, 0].tolist() == [*range(150, 200, 2), *range(151, 200, 2)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"symbol": ["A"] * 4}, "two rows of one symbol and time"),
        ({"event_timestamp": [1, 2, 3, 4]}, "must be a time"),
        ({"symbol": ["A", "B", "C", "D"]}, "no symbol with two rows"),
    ],
)
def test_what_is_no_frame_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ResearchError, match=message):
        read(put(tmp_path, **change))


def test_a_frame_without_returns_or_features_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path)
    table = pq.read_table(path)
    pq.write_table(table.select(["symbol", "event_timestamp", "depth"]), path)
    with pytest.raises(ResearchError, match="--label"):
        read(path)
    with pytest.raises(ResearchError, match="no feature"):
        read(path, labels={"depth": SECOND})
    with pytest.raises(ResearchError, match="one column 'gone'"):
        read(path, labels={"gone": SECOND})
    path.write_text("no parquet")
    with pytest.raises(ResearchError, match="no Parquet file"):
        read(path)
