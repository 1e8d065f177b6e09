"""Every plan gives what Feast's own store gives, on the frames that one is right for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.stores import retrieve
from feature_repo.stores.copy import append_columns
from feature_repo.stores.encode import doubles, integers, texts, times
from feature_repo.stores.schema import table_of_feature_view

BASE = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
FEATURES = ["quick:a", "quick:n", "slow:b"]

# Half seconds make ties and ttl edges; the odd microseconds stand just beside them.
moment = st.builds(lambda half, off: BASE + half * 500_000 + off, st.integers(0, 40), st.sampled_from([0, 0, 0, 1, -1]))
delay = st.sampled_from([0, 1, 500_000, 3_000_000, 12_000_000])
value = st.one_of(st.none(), st.floats(allow_nan=False), st.sampled_from([0.0, -0.0]))
row = st.tuples(st.sampled_from("AB"), moment, delay, value, st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)))
entity = st.tuples(st.sampled_from(["A", "B", "C", None]), moment)


def write(pair: Any, name: str, rows: list[tuple[Any, ...]]) -> None:
    table = table_of_feature_view(pair.ours.get_feature_view(name))
    pair.connection.execute(f"TRUNCATE {name}")
    if not rows:
        return
    event = np.array([r[1] for r in rows], np.int64)
    number = np.array([0 if r[4] is None else r[4] for r in rows], np.int64)
    columns = [texts([r[0] for r in rows]), times(event), times(event + np.array([r[2] for r in rows]))]
    columns.append(doubles(np.array([np.nan if r[3] is None else r[3] for r in rows], np.float64)))
    if name == "quick":
        columns.append(integers(number, np.array([r[4] is None for r in rows])))
    append_columns(pair.connection, table, columns)


@pytest.mark.parametrize("plan", ["look-up", "scan", "scan in slices"])
def test_values_equal_those_of_stock_feast(pair: Any, plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if plan != "look-up":
        monkeypatch.setattr(retrieve, "FEW", 0)
        monkeypatch.setattr(retrieve, "_PACKED", -1e12)
    if plan == "scan in slices":
        # Slices of a few rows: the planner's estimate is wrong for them, so they are halved too.
        monkeypatch.setattr(retrieve, "SLICE_CELLS", 8)

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(row, max_size=30),
        st.lists(row, max_size=30),
        st.lists(entity, max_size=12),
        st.booleans(),
        st.booleans(),
    )
    def check(quick: Any, slow: Any, asked: Any, known: bool, full: bool) -> None:
        write(pair, "quick", quick)
        write(pair, "slow", slow)
        start = pd.Timestamp("1970-01-01", tz="UTC")
        asked = [("A", BASE), *asked]  # a frame of null symbols alone is one that stock cannot upload
        frame = pd.DataFrame(
            {
                "symbol": pd.Series([s for s, _ in asked], dtype=object),
                "event_timestamp": [start + timedelta(microseconds=us) for _, us in asked],
                "number": np.arange(len(asked)),
            }
        )
        results = [
            store.get_historical_features(
                frame, FEATURES, full_feature_names=full, filter_by_created_timestamp=known
            ).to_arrow()
            for store in (pair.ours, pair.stock)
        ]
        ours, stock = results[0], results[1].sort_by("number")
        assert ours.schema == stock.schema
        assert ours.to_pylist() == stock.to_pylist()

    check()
