"""volatility_k: by hand, and random trades against a plain second definition."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from math import log, sqrt

import pytest

from tests.transforms.technical.conftest import HandFeed

T = 86_400 * 19_000


def test_three_moves_of_one_percent_in_a_minute_add_in_squares(feed: HandFeed) -> None:
    feed.trade(T, 100.0)
    for i, price in ((10, 101.0), (20, 100.0), (30, 101.0)):
        feed.trade(T + i, price)
    # ln(1.01) three times, twice up and once down
    assert feed.row(T + 60)["volatility_1m"] == pytest.approx(sqrt(3) * log(1.01), rel=1e-14)


def test_only_the_last_price_of_a_second_counts(feed: HandFeed) -> None:
    feed.trade(T, 100.0).trade(T + 5.1, 150.0).trade(T + 5.9, 100.0).trade(T + 58, 101.0)
    assert feed.row(T + 60)["volatility_1m"] == pytest.approx(log(1.01), rel=1e-14)


def test_a_trade_at_the_end_of_a_second_is_of_that_second(feed: HandFeed) -> None:
    # 110 is the last price of second (4, 5]; with 100 at 6 there are two moves, not none
    feed.trade(T, 100.0).trade(T + 5, 110.0).trade(T + 5.5, 100.0)
    assert feed.row(T + 60)["volatility_1m"] == pytest.approx(sqrt(2) * log(1.1), rel=1e-14)


def test_a_move_across_a_silence_is_the_return_of_the_second_in_which_it_is_seen(feed: HandFeed) -> None:
    feed.trade(T, 100.0).trade(T + 60, 102.0)
    assert feed.row(T + 60)["volatility_1m"] == pytest.approx(log(1.02), rel=1e-14)


def test_the_first_trade_after_a_silence_does_not_carry_its_move_into_the_window(feed: HandFeed) -> None:
    # an hour silent, then +2 %, then a trade of 0.1 % every 10 s
    for i in range(1000):
        feed.trade(T + i, 100.0)
    wake = T + 4599
    feed.trade(wake, 102.0)
    assert [feed.row(wake + 1)[f"volatility_{k}m"] for k in (1, 5, 15)] == [None] * 3
    price = 102.0
    for i in range(1, 91):
        price *= 1.001
        feed.trade(wake + 10 * i, price)
        row = feed.row(wake + 10 * i)
        for k in (1, 5, 15):
            expected = sqrt(6 * k) * log(1.001) if 10 * i >= 60 * k else None
            assert row[f"volatility_{k}m"] == (None if expected is None else pytest.approx(expected, rel=1e-9)), (i, k)


@pytest.mark.parametrize(
    ("silence", "known"), [(60, (1, 5, 15)), (61, (5, 15)), (300, (5, 15)), (301, (15,)), (901, ())]
)
def test_a_move_over_a_silence_belongs_to_the_windows_that_are_as_long(
    feed: HandFeed, silence: int, known: tuple[int, ...]
) -> None:
    for i in range(1000):
        feed.trade(T + i, 100.0)
    feed.trade(T + 999 + silence, 101.0)
    row = feed.row(T + 999 + silence)
    assert tuple(k for k in (1, 5, 15) if row[f"volatility_{k}m"] is not None) == known


@pytest.mark.parametrize(
    ("name", "k", "enough"), [("volatility_1m", 60, 57), ("volatility_5m", 300, 285), ("volatility_15m", 900, 855)]
)
def test_a_value_needs_95_percent_of_its_window(feed: HandFeed, name: str, k: int, enough: int) -> None:
    feed.trade(T, 100.0)
    for i in range(1, enough + 1):
        feed.trade(T + i - 0.5, 100.0 + i % 2)
    assert feed.row(T + enough - 1)[name] is None
    assert feed.row(T + enough)[name] == pytest.approx(sqrt(enough) * log(1.01), rel=1e-12)


def test_a_window_without_a_trade_says_nothing(feed: HandFeed) -> None:
    for i in range(100):
        feed.trade(T + i, 100.0 + i % 2)
    assert feed.row(T + 158)["volatility_1m"] == pytest.approx(log(1.01), rel=1e-14)
    row = feed.row(T + 159)
    assert row["volatility_1m"] is None
    assert row["volatility_5m"] is None  # 159 s of 300 s known
    assert feed.row(T + 300)["volatility_5m"] == pytest.approx(sqrt(99) * log(1.01), rel=1e-12)


def test_a_finer_grid_gives_the_same_whole_seconds(new_feed: Callable[..., HandFeed]) -> None:
    coarse, fine = new_feed(), new_feed(100_000)
    rng = random.Random(3)
    for i in range(1200):
        price = round(rng.uniform(99, 101), 2)
        for feed in (coarse, fine):
            feed.trade(T + i / 10, price)
        fine.row(T + i / 10)
    assert coarse.row(T + 120)["volatility_1m"] == fine.row(T + 120)["volatility_1m"]
    assert coarse.row(T + 121)["volatility_1m"] == fine.row(T + 121.9)["volatility_1m"]


def test_volatility_is_the_definition() -> None:
    rng = random.Random(11)
    feed = HandFeed()
    trades: list[tuple[int, float]] = []
    now = T * 1_000_000
    price = 100.0
    compared = 0
    for _ in range(1200):
        now += rng.choice((0, 1_000_000, rng.randrange(3_000_000)))
        if rng.random() < 0.005:
            now += rng.randrange(80_000_000)
        price = round(price * (1 + rng.gauss(0, 1e-4)), 2)
        trades.append((now, price))
        feed.trade(now / 1e6, price)
        if rng.random() > 0.2:
            continue
        t = -(-now // 1_000_000)
        now = t * 1_000_000 + 1  # the row has seen all up to t
        row = feed.row(t)
        first = -(-trades[0][0] // 1_000_000)
        closes: dict[int, float] = {}
        for at, p in trades:
            closes[-(-at // 1_000_000)] = p
        for k in (60, 300, 900):
            last: float | None = None
            returns = []
            for second in range(first, t + 1):
                new = closes.get(second, last)
                if last is not None and new is not None and second > t - k:
                    returns.append(log(new / last))
                last = new
            value = row[f"volatility_{k // 60}m"]
            traded = sorted(closes)
            silent = any(b > t - k and b - a > k for a, b in pairwise(traded))
            if len(returns) < 0.95 * k or traded[-1] <= t - k or silent:
                assert value is None
            else:
                assert value == pytest.approx(sqrt(sum(r * r for r in returns)), rel=1e-12)
                compared += 1
    assert compared > 200
