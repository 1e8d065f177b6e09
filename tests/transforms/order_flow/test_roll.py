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
    prices = [100, 110, 90, 100, 100, 100, 100, 100, 99, 101, 99]
    feed = new_feed()
    for t, price in zip([1, 2, 3, 4, 60, 120, 180, 240, 300, 302, 304], prices, strict=True):
        feed.trade(t, price)
    # row 304: (4, 304]; (later, earlier): (0, 10), (0, 0) three times, (-1, 0), (2, -1), (-2, 2)
    covariance = -6 / 7 - (-1 / 7) * (11 / 7)
    assert feed.row(304)["roll_spread_5m"] == pytest.approx(2 * sqrt(-covariance), rel=1e-13)
    # row 302: (2, 302] also holds 3 s (-20, 10) and 4 s (10, -20), and not yet 304 s
    feed = new_feed()
    for t, price in zip([1, 2, 3, 4, 60, 120, 180, 240, 300, 302], prices, strict=False):
        feed.trade(t, price)
    covariance = -402 / 8 - (-9 / 8) * (-1 / 8)
    assert feed.row(302)["roll_spread_5m"] == pytest.approx(2 * sqrt(-covariance), rel=1e-13)


def test_a_move_over_a_silence_is_no_bounce(new_feed: Any) -> None:
    """Overnight +5 %: null while the window holds one of its two pairs, then the bounce of the day alone."""
    feed = of_prices(new_feed(), [99, 101, 99, 101], start=DAY)
    of_prices(feed, [107, 105, 107], start=DAY + 1000)
    assert feed.row(DAY + 1003)["roll_spread_5m"] is None
    of_prices(feed, [105, 107, 105, 107, 105, 107], start=DAY + 1050, step=50)
    assert feed.row(DAY + 1300)["roll_spread_5m"] is None  # the pair of 1001 s is still in (1000, 1300]
    assert feed.row(DAY + 1301)["roll_spread_5m"] is not None


@pytest.mark.parametrize(("gap", "known"), [(60.0, True), (60.000001, False)])
def test_the_trade_before_may_be_a_minute_old(new_feed: Any, gap: float, known: bool) -> None:
    feed = of_prices(new_feed(), [99, 101, 99], start=DAY).trade(DAY + 2 + gap, 101)
    assert (feed.row(DAY + 63)["roll_spread_5m"] is not None) == known


def test_trades_of_one_timestamp_are_pairs_too(new_feed: Any) -> None:
    assert of_prices(new_feed(), [99, 101, 99, 101], step=0.0).row(1)["roll_spread_5m"] is not None
