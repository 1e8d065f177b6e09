"""Range estimators: against the papers' formulas written with numpy, and what a missing minute does."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import log, sqrt

import numpy as np
import pytest

from tests.transforms.technical.conftest import HandFeed

NAMES = ("parkinson_15m", "garman_klass_15m", "rogers_satchell_15m", "yang_zhang_15m")
FIRST = 28_000_000


def bar(feed: HandFeed, minute: int, prices: tuple[float, float, float, float]) -> None:
    """Trades whose bar of ``minute`` has this open, high, low, close."""
    for before, price in zip((50, 40, 30, 0), prices, strict=True):
        feed.trade(minute * 60 - before, price)


def random_bar(rng: random.Random) -> tuple[float, float, float, float]:
    """Open, high, low, close."""
    o, a, b, c = (round(100 * (1 + rng.gauss(0, 0.01)), 2) for _ in range(4))
    return o, max(o, a, b, c), min(o, a, b, c), c


def test_fifteen_bars_of_one_shape_by_hand(feed: HandFeed) -> None:
    # every bar: open 100, high 102, low 99, close 101; the bar before closed at 101
    for minute in range(FIRST, FIRST + 16):
        bar(feed, minute, (100.0, 102.0, 99.0, 101.0))
    row = feed.row((FIRST + 15) * 60)
    rs = log(102 / 101) * log(102 / 100) + log(99 / 101) * log(99 / 100)
    k = 0.34 / (1.34 + 16 / 14)
    assert row["parkinson_15m"] == pytest.approx(log(102 / 99) / sqrt(4 * log(2)), rel=1e-13)
    assert row["garman_klass_15m"] == pytest.approx(
        sqrt(log(102 / 99) ** 2 / 2 - (2 * log(2) - 1) * log(101 / 100) ** 2), rel=1e-13
    )
    assert row["rogers_satchell_15m"] == pytest.approx(sqrt(rs), rel=1e-13)
    # equal bars have no variance between them
    assert row["yang_zhang_15m"] == pytest.approx(sqrt((1 - k) * rs), rel=1e-13)


def test_random_bars_are_the_papers_formulas(feed: HandFeed) -> None:
    rng = random.Random(2)
    bars = [random_bar(rng) for _ in range(60)]
    for i, prices in enumerate(bars):
        bar(feed, FIRST + i, prices)
        row = feed.row((FIRST + i) * 60)
        if i < 15:
            continue
        o, h, low, c = np.array(bars[i - 14 : i + 1]).T
        before = np.array(bars[i - 15 : i])[:, 3]
        rs = float(np.mean(np.log(h / c) * np.log(h / o) + np.log(low / c) * np.log(low / o)))
        k = 0.34 / (1.34 + 16 / 14)
        yz = np.var(np.log(o / before), ddof=1) + k * np.var(np.log(c / o), ddof=1) + (1 - k) * rs
        expected = (
            sqrt(float(np.sum(np.log(h / low) ** 2)) / (4 * 15 * log(2))),
            sqrt(float(np.mean(np.log(h / low) ** 2 / 2 - (2 * log(2) - 1) * np.log(c / o) ** 2))),
            sqrt(rs),
            sqrt(float(yz)),
        )
        assert [row[name] for name in NAMES] == pytest.approx(expected, rel=1e-11)


def test_fifteen_bars_are_enough_except_for_yang_and_zhang(feed: HandFeed) -> None:
    rng = random.Random(3)
    for i in range(16):
        bar(feed, FIRST + i, random_bar(rng))
        known = [feed.row((FIRST + i) * 60)[name] is not None for name in NAMES]
        assert known == [i >= 14, i >= 14, i >= 14, i >= 15]


def test_a_minute_without_a_trade_takes_the_ranges_away_until_15_bars_stand_in_a_row(feed: HandFeed) -> None:
    rng = random.Random(4)
    for i in range(20):
        bar(feed, FIRST + i, random_bar(rng))
    assert feed.row((FIRST + 20) * 60 - 1)["parkinson_15m"] is not None
    assert feed.row((FIRST + 20) * 60)["parkinson_15m"] is None  # the minute that ends here has no bar
    for i in range(21, 36):
        assert feed.row((FIRST + i) * 60 - 59)["parkinson_15m"] is None
        bar(feed, FIRST + i, random_bar(rng))
    row = feed.row((FIRST + 35) * 60)
    assert row["parkinson_15m"] is not None
    assert row["yang_zhang_15m"] is None


def test_a_trade_at_a_minutes_end_closes_that_minutes_bar(new_feed: Callable[..., HandFeed]) -> None:
    at_the_end, after_it = new_feed(), new_feed()
    for feed, late in ((at_the_end, 0.0), (after_it, 0.000_001)):
        for i in range(15):
            feed.trade((FIRST + i) * 60 - 30, 100.0)
        feed.trade((FIRST + 14) * 60 + late, 110.0)
    assert at_the_end.row((FIRST + 14) * 60)["parkinson_15m"] == pytest.approx(
        log(1.1) / sqrt(4 * 15 * log(2)), rel=1e-13
    )
    assert after_it.row((FIRST + 14) * 60 + 59)["parkinson_15m"] == 0.0


def test_a_row_within_a_minute_does_not_see_the_open_bar(feed: HandFeed) -> None:
    for i in range(15):
        feed.trade((FIRST + i) * 60 - 30, 100.0)
    feed.trade((FIRST + 14) * 60 + 10, 200.0)
    assert feed.row((FIRST + 14) * 60 + 20)["parkinson_15m"] == 0.0
    assert feed.row((FIRST + 15) * 60)["parkinson_15m"] == 0.0  # a bar of one trade has no range


def test_the_first_minute_of_the_epoch_has_no_bar_before_it(feed: HandFeed) -> None:
    """A message may be stamped so; an empty state is no bar that closed at minute 0."""
    for minute in range(16):
        feed.trade(60 * minute + 30, 100.0 + minute % 3)
    row = feed.row(16 * 60)
    assert row["parkinson_15m"] == 0.0  # one trade a minute has no range
    assert row["yang_zhang_15m"] is not None
