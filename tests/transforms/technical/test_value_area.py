"""poc and value area: worked by hand, and random sessions against a plain second definition."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.technical.conftest import HandFeed
from transforms.kernel import zeros
from transforms.technical import price_rows

DAY = 86_400 * 19_000
NAMES = ("poc", "value_area_low", "value_area_high")


def session(volumes: dict[float, float], profile_row: float | None = 1.0, trades: int = 100) -> HandFeed:
    """A session with so much volume at each price, filled up to ``trades`` with trades of almost nothing at the last one."""
    feed = HandFeed(profile_row=profile_row)
    t = DAY
    for price, size in volumes.items():
        feed.trade(t, price, size)
    for _ in range(trades - len(volumes)):
        feed.trade(t, price, 1e-8)
    return feed


def test_the_area_takes_the_larger_pair_until_70_percent() -> None:
    # rows of 1 from 100 to 108; total 200 (and 91 dust lots), 70 % = 140
    #   row     100 101 102 103 104 105 106 107 108
    #   volume    5  10  25  30  50  35  20  15  10
    # mode 104: 50; above 105+106 = 55, below 103+102 = 55: equal, so above -> 105
    # above 107+108 = 25, below 55: below -> 160, enough: rows 102 to 106
    volumes = {100.5: 5, 101.5: 10, 102.5: 25, 103.5: 30, 104.5: 50, 105.5: 35, 106.5: 20, 107.5: 15, 108.5: 10}
    row = session({**volumes}).row(DAY + 1)
    assert [row[name] for name in NAMES] == [104.5, 102.0, 107.0]
    assert row["poc_dev_bps"] == pytest.approx(1e4 * (108.5 - 104.5) / 104.5, rel=1e-14)


def test_a_pair_is_compared_not_a_row() -> None:
    # mode 103: 40. Above: 104 has 1, 105 has 30: 31. Below: 102 has 20, 101 has 10: 30. A rule of single rows would go down.
    row = session({103.5: 40.0, 104.5: 1.0, 105.5: 30.0, 102.5: 20.0, 101.5: 10.0}).row(DAY + 1)
    # 71 of 101 is 70.3 %
    assert [row[name] for name in NAMES] == [103.5, 103.0, 106.0]


def test_the_area_ends_with_the_traded_range() -> None:
    # mode 100 is the lowest row traded: only upwards, two rows and then the one that is left
    row = session({100.5: 30.0, 101.5: 10.0, 102.5: 10.0, 103.5: 50.0 - 22.0}).row(DAY + 1)
    assert [row[name] for name in NAMES] == [100.5, 100.0, 104.0]


def test_exactly_70_percent_is_enough() -> None:
    feed = HandFeed(digits=0, profile_row=1.0)
    for i in range(100):
        feed.trade(DAY, 100.5 if i < 70 else 101.5)
    row = feed.row(DAY + 1)
    assert [row[name] for name in NAMES] == [100.5, 100.0, 101.0]


def test_of_equal_rows_the_lowest_is_the_mode() -> None:
    for prices in ((100.5, 101.5), (101.5, 100.5)):
        feed = HandFeed(digits=0, profile_row=1.0)
        for i in range(100):
            feed.trade(DAY, prices[i % 2])
        assert feed.row(DAY + 1)["poc"] == 100.5


def test_99_trades_are_too_few() -> None:
    feed = session({100.5: 1.0}, trades=99)
    assert feed.row(DAY + 1)["poc"] is None
    assert feed.trade(DAY + 1, 100.5).row(DAY + 1)["poc"] == 100.5


def test_rows_follow_the_first_price_where_no_height_is_given() -> None:
    # 1 bp of 61583 is 6.16: rows of 5, aligned to multiples of 5
    row = session({61583.22: 1.0}, profile_row=None).row(DAY + 1)
    assert [row[name] for name in NAMES] == [61582.5, 61580.0, 61585.0]


def test_edges_are_the_decimals_that_a_person_reads() -> None:
    row = session({0.15: 1.0}, profile_row=0.05).row(DAY + 1)
    assert [row[name] for name in NAMES] == [0.175, 0.15, 0.2]


def plain_area(volumes: Counter[int]) -> tuple[int, int, int]:
    """Mode, lowest and highest row of the area, by the rule as written."""
    mode = min(r for r, v in volumes.items() if v == max(volumes.values()))
    lowest, highest = min(volumes), max(volumes)
    rows = [mode]
    while Fraction(sum(volumes[r] for r in rows), sum(volumes.values())) < Fraction(7, 10):
        above = [r for r in (rows[-1] + 1, rows[-1] + 2) if r <= highest]
        below = [r for r in (rows[0] - 1, rows[0] - 2) if r >= lowest]
        up = sum(volumes[r] for r in above) >= sum(volumes[r] for r in below)
        if above and (up or not below):
            rows += above
        else:
            rows = [*reversed(below), *rows]
    return mode, rows[0], rows[-1]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2500), st.integers(1, 20)), min_size=1, max_size=60), st.integers(0, 10**6))
def test_rows_moved_and_merged_are_the_rows_of_a_dictionary(trades: list[tuple[int, int]], lowest: int) -> None:
    state = zeros(price_rows.SIZE + 1)
    o = 1
    first = lowest + trades[0][0] + 0.5
    price_rows.reset(state, o, first, 1.0, 1.0)
    seen: Counter[int] = Counter()
    height = 1
    for offset, size in trades:
        row = lowest + offset
        price_rows.add(state, o, row + 0.5, float(size))
        seen[row] += size
        while max(seen) // height - min(seen) // height >= 1024:
            height *= 2
        merged: Counter[int] = Counter()
        for r, v in seen.items():
            merged[r // height] += v
        mode, low, high = plain_area(merged)
        assert price_rows.poc(state, o) == (mode + 0.5) * height
        area = price_rows.value_area(state, o, float(sum(seen.values())))
        assert area == (low * height, (high + 1) * height)
    assert state[0] == 0.0


def test_a_trend_far_past_the_table_loses_no_volume() -> None:
    rng = random.Random(8)
    state = zeros(price_rows.SIZE)
    price_rows.reset(state, 0, 10_000.0, 1.0, 1.0)
    for i in range(20_000):
        price_rows.add(state, 0, 10_000.0 + i * rng.choice((0.5, 1.0)), 3.0)
    table = state[price_rows.SIZE - price_rows.ROWS :]
    assert sum(table) == 60_000.0
