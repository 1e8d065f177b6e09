"""Depth within a distance, and the slope of the book."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

# m = 1000; 10 bps are 1, 25 bps 2.5, 50 bps 5
BIDS = [(999.5, 1.0), (999.0, 2.0), (998.0, 4.0), (997.5, 8.0), (996.0, 16.0), (994.0, 32.0)]
ASKS = [(1000.5, 1.0), (1001.25, 2.0), (1002.0, 4.0), (1004.0, 8.0), (1005.5, 16.0)]


def test_depth_by_hand_counts_the_edge_and_stops_past_it(new_feed: Any) -> None:
    row = new_feed().book(1, BIDS, ASKS).row(1)
    assert row["depth_bid_10bps"] == 999.5 + 2 * 999.0
    assert row["depth_bid_25bps"] == 999.5 + 2 * 999.0 + 4 * 998.0 + 8 * 997.5
    assert row["depth_bid_50bps"] == 999.5 + 2 * 999.0 + 4 * 998.0 + 8 * 997.5 + 16 * 996.0
    assert row["depth_ask_10bps"] == 1000.5
    assert row["depth_ask_25bps"] == 1000.5 + 2 * 1001.25 + 4 * 1002.0
    assert row["depth_ask_50bps"] == 1000.5 + 2 * 1001.25 + 4 * 1002.0 + 8 * 1004.0


def test_depth_is_null_where_the_last_level_is_still_within(new_feed: Any) -> None:
    row = new_feed().book(1, BIDS[:5], ASKS[:3]).row(1)
    assert row["depth_bid_25bps"] is not None
    assert row["depth_bid_50bps"] is None
    assert row["depth_ask_10bps"] is not None
    assert row["depth_ask_25bps"] is None
    assert row["depth_ask_50bps"] is None


def test_depth_is_zero_where_the_best_level_is_farther_out(new_feed: Any) -> None:
    row = new_feed().book(1, [(900.0, 1.0)], [(1100.0, 1.0)]).row(1)
    assert row["depth_bid_50bps"] == 0.0
    assert row["depth_ask_50bps"] == 0.0


def test_slope_of_evenly_filled_levels_by_hand(new_feed: Any) -> None:
    # m = 100, distances 1, 2, 3 % against cumulative sizes 5, 10, 15: 5 for each 0.01
    row = new_feed().book(1, [(99.0, 5.0), (98.0, 5.0), (97.0, 5.0)], [(101.0, 5.0), (102.0, 5.0), (103.0, 5.0)]).row(1)
    assert row["book_slope_bid"] == pytest.approx(500.0, rel=1e-12)
    assert row["book_slope_ask"] == pytest.approx(500.0, rel=1e-12)


def test_slope_agrees_with_numpy_and_stops_at_ten_levels(new_feed: Any) -> None:
    rng = np.random.default_rng(3)
    bids = list(zip(1000.0 - np.cumsum(rng.uniform(0.1, 2, 20)), rng.uniform(1, 9, 20), strict=True))
    asks = list(zip(1000.0 + np.cumsum(rng.uniform(0.1, 2, 20)), rng.uniform(1, 9, 20), strict=True))
    row = new_feed().book(1, bids, asks).row(1)
    mid = (bids[0][0] + asks[0][0]) / 2
    for name, side in (("book_slope_bid", bids), ("book_slope_ask", asks)):
        price, size = np.array(side[:10]).T
        slope = np.polyfit(np.abs(price - mid) / mid, np.cumsum(size), 1)[0]
        assert row[name] == pytest.approx(slope, rel=1e-9)


def test_slope_is_null_under_three_levels_of_that_side(new_feed: Any) -> None:
    row = new_feed().book(1, BIDS[:2], ASKS[:3]).row(1)
    assert row["book_slope_bid"] is None
    assert row["book_slope_ask"] is not None
