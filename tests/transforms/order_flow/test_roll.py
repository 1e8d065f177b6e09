"""Roll's spread from the bounce of trade prices."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest

DAY = 86_400.0


def of_prices(feed: Any, prices: list[float], start: float = 1.0, step: float = 1.0) -> Any:
    for i, p in enumerate(prices):
        feed.trade(start + i * step, p)
    return feed


def test_a_pure_bounce_gives_the_spread(new_feed: Any) -> None:
    """dp = +2 -2 +2 -2 +2: four pairs of -4, mean of the later 0, of the earlier 0."""
    row = of_prices(new_feed(), [99, 101, 99, 101, 99, 101]).row(10)
    assert row["roll_spread_5m"] == 2 * sqrt(4)


def test_the_means_are_taken_off(new_feed: Any) -> None:
    """dp = 3, -1, 3: pairs (-1, 3), (3, -1): mean product -3, means 1 and 1, covariance -4."""
    row = of_prices(new_feed(), [100, 103, 102, 105]).row(10)
    assert row["roll_spread_5m"] == 4.0


@pytest.mark.parametrize(
    "prices",
    [
        [100, 101, 102, 103, 105, 107, 109],  # momentum: 12/5 - 8/5*7/5 = 0.16
        [100, 101, 102, 103, 104],  # a steady drift: 0
        [100, 100, 100, 100],  # no change: 0
        [100, 101, 99],  # one pair: 0
        [100, 101],
        [100],
    ],
)
def test_a_covariance_that_is_not_negative_is_null(new_feed: Any, prices: list[float]) -> None:
    assert of_prices(new_feed(), prices).row(10)["roll_spread_5m"] is None


def test_pairs_leave_the_window_with_their_later_trade(new_feed: Any) -> None:
    feed = of_prices(new_feed(), [100, 110, 90, 100])  # at 1, 2, 3, 4 s
    of_prices(feed, [99, 101, 99, 101, 99], start=302)
    # row 304: (4, 304]; pairs of 302 (-1, 10), 303 (2, -1), 304 (-2, 2): products -10 -2 -4
    assert feed.row(306)["roll_spread_5m"] is not None
    feed = of_prices(new_feed(), [100, 110, 90, 100])
    of_prices(feed, [99, 101, 99], start=302)
    covariance = -16 / 3 - (-1 / 3) * (11 / 3)
    assert feed.row(304)["roll_spread_5m"] == pytest.approx(2 * sqrt(-covariance), rel=1e-13)
    # row 302 of the same: (2, 302] also holds 3 s (-20, 10) and 4 s (10, -20)
    feed = of_prices(new_feed(), [100, 110, 90, 100]).trade(302, 99)
    covariance = -410 / 3 - (-11 / 3) * (0 / 3)
    assert feed.row(302)["roll_spread_5m"] == pytest.approx(2 * sqrt(-covariance), rel=1e-13)


def test_trades_of_one_timestamp_are_pairs_too(new_feed: Any) -> None:
    assert of_prices(new_feed(), [99, 101, 99, 101], step=0.0).row(1)["roll_spread_5m"] is not None
