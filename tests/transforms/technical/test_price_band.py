"""Prints far from all others: they stay out of the rows, and a market that really jumped gets in."""

from __future__ import annotations

import random

import pytest

from tests.transforms.technical.conftest import HandFeed

DAY = 86_400 * 19_000
NAMES = ("poc", "value_area_low", "value_area_high")


def market(rng: random.Random, n: int, centre: float, size: float = 1.0) -> list[tuple[float, float]]:
    """``n`` trades around a price, prices with two decimals."""
    return [(round(centre * (1 + rng.gauss(0, 3e-4)), 2), size * rng.randrange(1, 1000) / 1000) for _ in range(n)]


def profile(trades: list[tuple[float, float]]) -> list[float | None]:
    feed = HandFeed()
    for i, (price, size) in enumerate(trades):
        feed.trade(DAY + i / 100, price, size)
    row = feed.row(DAY + len(trades) // 100 + 1)
    return [row[name] for name in NAMES]


@pytest.mark.parametrize("bad", [600_000.0, 6_000.0, 0.01, 67_000.0])
@pytest.mark.parametrize("at", [0, 1, 50, 3999])
def test_one_bad_print_changes_no_row_of_the_profile(bad: float, at: int) -> None:
    trades = market(random.Random(2), 4000, 60_000.0)
    assert profile([*trades[:at], (bad, 0.001), *trades[at:]]) == profile(trades)


def test_many_bad_prints_that_others_surround_change_no_row() -> None:
    rng = random.Random(3)
    trades = market(rng, 4000, 60_000.0)
    dirty = []
    for i, trade in enumerate(trades):
        dirty.append(trade)
        if i % 150 == 7:
            dirty.append((rng.choice([600_000.0, 1.0, 45_000.0]), 5.0))
    assert profile(dirty) == profile(trades)


def test_a_market_that_jumped_is_in_the_rows_to_the_last_lot() -> None:
    """A third of the day at 60,000, then 75,000: rows of 5 doubled until both fit, counted here with a dictionary."""
    rng = random.Random(4)
    trades = [*market(rng, 1000, 60_000.0), *market(rng, 2000, 75_000.0)]
    height = 5
    while max(p for p, _ in trades) // height - min(p for p, _ in trades) // height >= 1024:
        height *= 2
    lots: dict[float, int] = {}
    for price, size in trades:
        lots[price // height] = lots.get(price // height, 0) + round(size * 1e8)
    mode = min(row for row, q in lots.items() if q == max(lots.values()))
    assert profile(trades)[0] == (mode + 0.5) * height


def test_a_market_of_two_prices_far_apart_is_in_the_rows() -> None:
    # an illiquid market: bid 1.00, ask 1.30, by turns; twice as much is bought
    trades = [(1.00, 1.0) if i % 2 else (1.30, 2.0) for i in range(200)]
    poc, low, high = profile(trades)
    assert poc is not None and abs(poc - 1.30) < 0.001
    assert low is not None and high is not None and low <= 1.0 < 1.3 <= high  # 1.30 alone holds two thirds


def test_a_fresh_start_on_bad_prints_begins_at_the_level_that_others_confirm() -> None:
    trades = market(random.Random(5), 400, 60_000.0)
    assert profile([(9_000_000.0, 1.0)] * 9 + trades) == profile(trades)


def test_a_bad_print_counts_for_the_share_of_volume_by_price() -> None:
    feed = HandFeed()
    for i in range(99):
        feed.trade(DAY + i, 100.0)
    # 1 of 100 was traded far above the last price
    feed.trade(DAY + 99, 1000.0).trade(DAY + 100, 100.0)
    assert feed.row(DAY + 101)["volume_profile"] == 100 / 101
