"""Bulk classification of VPIN's buckets."""

from __future__ import annotations

import itertools
from statistics import NormalDist, stdev
from typing import Any

import pytest


def walk(n: int) -> list[float]:
    """Prices that move by uneven steps."""
    prices, p = [], 100.0
    for i in range(n):
        p += (0.0, 0.5, -0.25, 1.0, -1.5, 0.25, 0.75)[i * i % 7]
        prices.append(p)
    return prices


def test_seventy_buckets_give_the_mean_of_their_one_sidedness(new_feed: Any) -> None:
    """Against ``statistics.NormalDist``: a trade is a bucket, so dP is the change from trade to trade."""
    prices = walk(85)
    feed = new_feed(vpin_bucket=1.0)
    for i, p in enumerate(prices[:69]):
        feed.trade(i + 1, p)
    assert feed.row(69)["vpin_bvc"] is None
    for i, p in enumerate(prices[69:], 69):
        feed.trade(i + 1, p)
        changes = [0.0, *(b - a for a, b in itertools.pairwise(prices))]
        shares = [abs(2 * NormalDist(0, stdev(changes[k - 20 : k])).cdf(changes[k]) - 1) for k in range(i - 49, i + 1)]
        assert feed.row(i + 1)["vpin_bvc"] == pytest.approx(sum(shares) / 50, abs=1e-12)


def test_the_buckets_of_one_trade_but_the_first_see_no_change_of_price(new_feed: Any) -> None:
    feed = new_feed(vpin_bucket=1.0)
    for i, p in enumerate(walk(70)):
        feed.trade(i + 1, p)
    assert feed.row(70)["vpin_bvc"] > 0.3
    feed.trade(71, 500.0, size=50)
    # 50 buckets: the first jumps and is all one side, the other 49 stand still
    assert feed.row(71)["vpin_bvc"] == pytest.approx(1 / 50, abs=1e-12)


def test_without_any_change_before_a_bucket_the_limits_hold(new_feed: Any) -> None:
    feed = new_feed(vpin_bucket=1.0)
    for i in range(70):
        feed.trade(i + 1, 100.0)
    assert feed.row(70)["vpin_bvc"] == 0.0
    assert feed.trade(71, 101.0).row(71)["vpin_bvc"] == 1 / 50


def test_sides_do_not_matter(new_feed: Any) -> None:
    bought, sold = new_feed(vpin_bucket=1.0), new_feed(vpin_bucket=1.0)
    for i, p in enumerate(walk(90)):
        bought.trade(i + 1, p, side=1)
        sold.trade(i + 1, p, side=-1)
    assert bought.row(90)["vpin_bvc"] == sold.row(90)["vpin_bvc"]


def test_a_change_is_measured_from_the_last_price_before_the_bucket(new_feed: Any) -> None:
    """Each bucket is two trades; the first one's price within a bucket does not count."""
    prices = walk(75)
    one, two = new_feed(vpin_bucket=1.0), new_feed(vpin_bucket=1.0)
    for i, p in enumerate(prices):
        one.trade(i + 1, p)
        two.trade(i + 1, p if i == 0 else 3.0, size=0.5).trade(i + 1, p, size=0.5)
    assert one.row(80)["vpin_bvc"] == two.row(80)["vpin_bvc"]


@pytest.mark.parametrize(("gap", "passed_over"), [(1728, False), (1729, True)])
def test_a_bucket_that_follows_a_silence_is_passed_over(new_feed: Any, gap: int, passed_over: bool) -> None:
    """Overnight +50 %: a fiftieth of a day, 1728 s, is the longest silence over which the move counts."""
    feed = new_feed(vpin_bucket=1.0)
    for i, p in enumerate(walk(80)):
        feed.trade(i + 1, p)
    before = feed.row(80)["vpin_bvc"]
    assert (feed.trade(80 + gap, 150.0).row(81 + gap)["vpin_bvc"] == before) == passed_over
