"""Which entity rows a view is asked for: those with a moment and a whole key."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore
from feast.errors import FeastEntityDFMissingColumnsError

from feature_repo.stores.offline.join.spine import asked_of_spine, order_of, spine_of_frame
from tests.feature_repo.stores.offline.two_views import FEATURES, asked, at


def test_times_without_a_zone_are_utc_and_texts_of_times_are_read(store: FeatureStore) -> None:
    aware = asked(("A", 5), ("A", 12))
    naive = aware.assign(event_timestamp=aware["event_timestamp"].dt.tz_localize(None))
    elsewhere = aware.assign(event_timestamp=aware["event_timestamp"].dt.tz_convert("Asia/Tokyo"))
    written = aware.assign(event_timestamp=["2024-01-01T00:00:05Z", "2024-01-01T01:00:12+01:00"])
    moment = aware.assign(event_timestamp=[at(5), None])
    wanted = store.get_historical_features(aware, FEATURES).to_arrow()
    for frame in (naive, elsewhere, written):
        assert store.get_historical_features(frame, FEATURES).to_arrow() == wanted
    assert store.get_historical_features(moment, FEATURES).to_arrow().column("a").to_pylist() == [1.5, None]


def test_another_name_of_the_time_column_is_found(store: FeatureStore, capsys: pytest.CaptureFixture[str]) -> None:
    frame = asked(("A", 5)).rename(columns={"event_timestamp": "moment"})
    result = store.get_historical_features(frame, FEATURES).to_arrow()
    assert result.column_names[:2] == ["symbol", "moment"]
    assert result.column("a").to_pylist() == [1.5]
    assert "moment" in capsys.readouterr().out


def test_a_frame_without_rows_gives_the_columns(store: FeatureStore) -> None:
    for frame in (asked(("A", 5)).iloc[:0], pd.DataFrame(columns=["symbol", "event_timestamp"])):
        result = store.get_historical_features(frame, FEATURES).to_arrow()
        assert result.num_rows == 0
        assert result.column_names == ["symbol", "event_timestamp", "a", "n", "b"]
        assert result.schema.field("n").type == pa.int64()


def test_a_frame_without_a_key_is_refused_by_name(store: FeatureStore) -> None:
    with pytest.raises(FeastEntityDFMissingColumnsError, match="symbol"):
        store.get_historical_features(asked(("A", 5)).drop(columns="symbol"), FEATURES).to_arrow()


def test_the_frame_is_taken_as_it_was_when_asked(store: FeatureStore) -> None:
    frame = asked(("A", 5))
    job = store.get_historical_features(frame, FEATURES)
    frame["symbol"] = "Z"
    assert job.to_arrow().column("a").to_pylist() == [1.5]


def test_rows_are_sorted_by_moment_and_those_without_a_key_or_a_moment_are_left_out() -> None:
    frame = pd.DataFrame(
        {
            "venue": ["X", "X", None, "Y", "X"],
            "number": [2, 1, 1, 2, 2],
            "event_timestamp": [at(3), at(2), at(1), at(2), None],
        }
    )
    found = asked_of_spine(spine_of_frame(frame), ["venue", "number"])
    assert found.row.tolist() == [1, 3, 0]
    assert np.diff(found.moment).tolist() == [0, 1_000_000]
    assert (found.begin, found.end) == (found.moment[0], found.moment[2])
    keys = list(zip(*(part.to_pylist() for part in found.keys), strict=True))
    assert [keys[code] for code in found.code] == [("X", 1), ("Y", 2), ("X", 2)]
    assert found.part(slice(1, None)).row.tolist() == [3, 0]


@pytest.mark.parametrize("apart", [0, 1, 10**6, 2**45, 2**61])
def test_times_are_put_in_order_near_each_other_or_far_apart(apart: int) -> None:
    rng = np.random.default_rng(apart)
    for size in (0, 1, 2, 500):
        times = rng.integers(-apart, apart + 1, size)
        order = order_of(times)
        assert sorted(order.tolist()) == list(range(size))
        assert times[order].tolist() == sorted(times.tolist())
