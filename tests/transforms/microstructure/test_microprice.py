"""The microprice: which cell of the table, and when there is none."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from transforms.microstructure.layout import IMBALANCE_BINS, SPREAD_BINS, TABLE_SIZE
from transforms.microstructure.microprice import imbalance_bin, install, spread_bin

FROM_US, TICK = 100_000_000, 0.5


def table(**cells: float) -> list[float]:
    """A table usable from second 100 whose cell ``r<row>_c<column>`` is given, and all others are null."""
    g = [float("nan")] * (IMBALANCE_BINS * SPREAD_BINS)
    for name, value in cells.items():
        row, column = name[1:].split("_c")
        g[int(row) * SPREAD_BINS + int(column)] = value
    return [float(FROM_US), TICK, *g]


def test_the_cell_of_imbalance_and_spread_is_added_in_ticks(new_feed: Any) -> None:
    # imbalance (3 - 1)/4 = 0.5: bin 5 + floor(0.5*5.5 + 0.5) = 8; spread 2 ticks: column 1
    feed = new_feed(table=table(r8_c1=0.25)).book(100, [(99.0, 3.0)], [(100.0, 1.0)])
    assert feed.row(100)["microprice"] == 99.5 + 0.25 * 0.5


def test_it_is_null_without_a_table(new_feed: Any) -> None:
    assert new_feed().book(100, [(99.0, 3.0)], [(100.0, 1.0)]).row(100)["microprice"] is None


def test_it_is_null_in_a_cell_that_the_data_never_saw(new_feed: Any) -> None:
    feed = new_feed(table=table(r8_c1=0.25)).book(100, [(99.0, 3.0)], [(99.5, 1.0)])
    assert feed.row(100)["microprice"] is None


def test_a_table_is_not_used_before_the_end_of_its_data(new_feed: Any) -> None:
    feed = new_feed(table=table(r5_c0=0.0)).book(98.5, [(99.0, 1.0)], [(99.5, 1.0)])
    assert feed.row(99)["microprice"] is None
    assert feed.row(100)["microprice"] == 99.25


def test_a_newer_table_takes_the_place_of_the_old_one(new_feed: Any) -> None:
    feed = new_feed(table=table(r5_c0=0.0)).book(100, [(99.0, 1.0)], [(99.5, 1.0)])
    install(feed.state, table(r5_c0=1.0))
    assert feed.row(101)["microprice"] == 99.75


def test_it_is_null_without_a_valid_book(new_feed: Any) -> None:
    feed = new_feed(table=table(r5_c0=0.0)).book(100, [(99.0, 1.0)], [(99.5, 1.0)]).invalid(100.5)
    assert feed.row(101)["microprice"] is None


def test_bins_of_an_imbalance_mirror_each_other_and_are_equally_wide() -> None:
    values = [i / 1000 for i in range(1001)]
    assert all(imbalance_bin(-x) == IMBALANCE_BINS - 1 - imbalance_bin(x) for x in values)
    assert [imbalance_bin(x) for x in (-1.0, -0.1, 0.0, 0.1, 1.0)] == [0, 4, 5, 6, 10]
    edges = [x for x, y in pairwise(values) if imbalance_bin(x) != imbalance_bin(y)]
    # 1/11, 3/11, ... 9/11
    assert edges == [0.090, 0.272, 0.454, 0.636, 0.818]


@pytest.mark.parametrize(
    ("spread", "column"), [(0.2, 0), (0.5, 0), (1.0, 1), (1.0000000001, 1), (2.0, 3), (2.5, 4), (3.0, 4), (1e15, 4)]
)
def test_bins_of_a_spread_count_ticks(spread: float, column: int) -> None:
    assert spread_bin(spread, TICK) == column


def test_a_huge_number_of_ticks_is_many_ticks() -> None:
    assert spread_bin(1e15, 1e-300) == SPREAD_BINS - 1


@pytest.mark.parametrize("tick", [0.0, -1.0, float("nan"), float("inf")])
def test_a_table_without_a_positive_tick_is_refused(new_feed: Any, tick: float) -> None:
    with pytest.raises(ValueError, match="tick"):
        new_feed(table=[0.0, tick, *[0.0] * (TABLE_SIZE - 2)])


def test_a_table_of_another_length_is_refused(new_feed: Any) -> None:
    with pytest.raises(ValueError, match="57 numbers, this one 3"):
        new_feed(table=[0.0, 1.0, 0.0])
