"""Prices of the best level."""

from __future__ import annotations

from typing import Any

import pytest


def test_prices_of_the_best_level_by_hand(new_feed: Any) -> None:
    row = new_feed().book(1, [(99.0, 3.0), (98.0, 50.0)], [(101.0, 1.0), (102.0, 70.0)]).row(1)
    assert row["mid_price"] == 100.0
    assert row["spread"] == 2.0
    assert row["spread_pct"] == 2.0
    # (99*1 + 101*3)/4 = 402/4: drawn to the ask, where less stands
    assert row["weighted_mid"] == 100.5
    assert row["weighted_mid_dev_bps"] == 50.0


def test_the_spread_of_any_accepted_book_is_at_most_200_percent(new_feed: Any) -> None:
    row = new_feed().book(1, [(5e-324, 1.0)], [(1e15, 1.0)]).row(1)
    assert row["spread_pct"] == 200.0


def test_the_smallest_and_largest_numbers_accepted_divide_by_nothing(new_feed: Any) -> None:
    tiny = new_feed().book(
        1, [(5e-324 * (3 - i), 5e-324) for i in range(3)], [(5e-324 * (4 + i), 5e-324) for i in range(3)]
    )
    huge = new_feed().book(1, [(1e15 - 50 - i, 1e15) for i in range(20)], [(1e15 - 20 + i, 1e15) for i in range(20)])
    assert tiny.row(1)["imbalance_ratio"] == 0.0
    assert huge.row(1)["bid_volume"] == 2e16
    # a better bid of 1e15 appears, 1e23 lots; the ask stays as it was
    assert huge.book(1.5, [(1e15 - 49, 1e15)], [(1e15 - 20, 1e15)]).row(2)["ofi_1s"] == pytest.approx(1e15, rel=1e-15)


@pytest.mark.parametrize("t", [1, 2, 9.0])
def test_a_snapshot_stays_until_the_next_one(new_feed: Any, t: float) -> None:
    assert new_feed().book(1, [(99.0, 3.0)], [(101.0, 1.0)]).row(t)["mid_price"] == 100.0
