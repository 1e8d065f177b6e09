"""price_momentum_k: edges of the look-back, by hand, and random trades against a plain second definition."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import log

import pytest

from tests.transforms.technical.conftest import HandFeed
from transforms.technical import momentum

T = 86_400 * 19_000
"""Midnight UTC; everything below is counted from it, in seconds."""


def test_a_price_at_exactly_t_minus_k_is_the_past_price(feed: HandFeed) -> None:
    feed.trade(T + 39, 90.0).trade(T + 40, 100.0).trade(T + 41, 110.0).trade(T + 99.5, 105.0)
    assert feed.row(T + 100)["price_momentum_1m"] == log(105.0 / 100.0)


def test_a_price_just_after_t_minus_k_is_not_used(feed: HandFeed) -> None:
    feed.trade(T + 39, 90.0).trade(T + 40.000_001, 100.0).trade(T + 99.5, 105.0)
    assert feed.row(T + 100)["price_momentum_1m"] == log(105.0 / 90.0)


@pytest.mark.parametrize(
    ("name", "k"), [("price_momentum_1m", 60), ("price_momentum_5m", 300), ("price_momentum_15m", 900)]
)
def test_a_past_price_may_be_a_tenth_of_k_old_and_not_a_microsecond_more(
    new_feed: Callable[..., HandFeed], name: str, k: int
) -> None:
    t = T + 2000
    edge = t - k - k // 10
    at_the_edge = new_feed().trade(edge, 100.0).trade(t - 1, 101.0)
    too_old = new_feed().trade(edge - 0.000_001, 100.0).trade(t - 1, 101.0)
    assert at_the_edge.row(t)[name] == log(101.0 / 100.0)
    assert too_old.row(t)[name] is None


def test_of_two_trades_in_the_oldest_second_the_one_at_its_edge_decides(feed: HandFeed) -> None:
    feed.trade(T + 33.5, 99.0).trade(T + 34, 100.0).trade(T + 99, 101.0)
    assert feed.row(T + 100)["price_momentum_1m"] == log(101.0 / 100.0)


def test_no_trade_ever_gives_no_momentum(feed: HandFeed) -> None:
    row = feed.row(T)
    assert [row[f"price_momentum_{k}m"] for k in (1, 5, 15)] == [None, None, None]


def test_an_unchanged_price_is_a_momentum_of_zero_not_a_null(feed: HandFeed) -> None:
    feed.trade(T + 40, 100.0).trade(T + 99, 100.0)
    assert feed.row(T + 100)["price_momentum_1m"] == 0.0


def test_a_price_ratio_that_no_double_holds_is_null(feed: HandFeed) -> None:
    feed.trade(T + 40, 1e-300).trade(T + 99, 1e300)
    assert feed.row(T + 100)["price_momentum_1m"] is None


@pytest.mark.parametrize("bucket_us", [100_000, 250_000, 1_000_000])
def test_momentum_is_the_definition_on_every_grid(new_feed: Callable[..., HandFeed], bucket_us: int) -> None:
    rng = random.Random(bucket_us)
    feed = new_feed(bucket_us)
    trades: list[tuple[int, float]] = []
    now = T * 1_000_000
    compared = 0
    for _ in range(1500):
        # often on a bucket's edge, sometimes after a long silence
        now += rng.choice((0, 1, -now % bucket_us, 999_999, 2_000_000, rng.randrange(8_000_000)))
        if rng.random() < 0.02:
            now += rng.randrange(100_000_000)
        trades.append((now, round(rng.uniform(99, 101), 2)))
        feed.trade(now / 1e6, trades[-1][1])
        t = -(-now // bucket_us) * bucket_us
        row = feed.row(t / 1e6)
        now = t + 1  # the row has seen all up to t
        for k in (60, 300, 900):
            past = [(at, p) for at, p in trades[-1400:] if at <= t - k * 1_000_000]
            expected = None
            if past and t - k * 1_000_000 - past[-1][0] <= k * 100_000:
                expected = log(trades[-1][1] / past[-1][1])
                compared += 1
            assert row[f"price_momentum_{k // 60}m"] == expected
    assert compared > 1000


def test_a_grid_of_a_second_has_a_bucket_for_each_of_the_990_seconds_looked_back_on_and_the_newest() -> None:
    assert momentum.buckets(1_000_000) == 991
