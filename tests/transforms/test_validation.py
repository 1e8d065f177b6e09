"""What is refused of a book, and what is struck from a row."""

from __future__ import annotations

from math import inf, isnan, nan, nextafter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms import validation
from transforms.catalog import MICROSTRUCTURE, VIEWS
from transforms.kernel import vector
from transforms.validation import check_book, check_ranges, ranges

BID_PRICE, BID_SIZE, ASK_PRICE, ASK_SIZE = 0, 20, 40, 60


def book(**changes: float) -> Any:
    """A good book of 3 levels a side, with ``bid_price_1=...`` put in; what is not used is NaN."""
    flat = [nan] * 87
    flat[0:3], flat[20:23] = [99.0, 98.0, 97.0], [1.0, 2.0, 3.0]
    flat[40:43], flat[60:63] = [101.0, 102.0, 103.0], [1.0, 2.0, 3.0]
    for name, value in changes.items():
        side, what, level = name.split("_")
        flat[{"bid": 0, "ask": 40}[side] + {"price": 0, "size": 20}[what] + int(level)] = value
    return vector(flat)


def test_a_good_book_is_ok_whatever_stands_behind_its_levels() -> None:
    assert check_book(book(), 3, 3) == validation.OK


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"bid_price_0": nan}, validation.NOT_FINITE),
        ({"bid_size_2": nan}, validation.NOT_FINITE),
        ({"ask_price_1": inf}, validation.NOT_FINITE),
        ({"ask_size_0": -inf}, validation.NOT_FINITE),
        ({"bid_price_2": 0.0}, validation.NOT_POSITIVE),
        ({"bid_size_0": -1.0}, validation.NOT_POSITIVE),
        ({"ask_price_0": -0.0}, validation.NOT_POSITIVE),
        ({"ask_size_2": 0.0}, validation.NOT_POSITIVE),
        ({"bid_size_1": nextafter(1e15, inf)}, validation.OUT_OF_RANGE),
        ({"ask_price_2": 1e16}, validation.OUT_OF_RANGE),
        ({"bid_price_0": 1e300}, validation.OUT_OF_RANGE),
        ({"bid_price_1": 99.0}, validation.UNSORTED),
        ({"bid_price_2": 98.5}, validation.UNSORTED),
        ({"ask_price_1": 101.0}, validation.UNSORTED),
        ({"ask_price_2": 101.5}, validation.UNSORTED),
        ({"bid_price_0": 101.0}, validation.CROSSED),
        ({"ask_price_0": 98.5}, validation.CROSSED),
    ],
)
def test_each_fault_has_its_code(changes: dict[str, float], fault: int) -> None:
    assert check_book(book(**changes), 3, 3) == fault


def test_the_largest_number_allowed_is_allowed() -> None:
    assert check_book(book(ask_price_2=1e15, bid_size_0=1e15), 3, 3) == validation.OK


def test_the_smallest_positive_number_is_allowed() -> None:
    assert check_book(book(bid_price_2=5e-324, ask_size_0=5e-324), 3, 3) == validation.OK


@pytest.mark.parametrize(("n_bid", "n_ask"), [(0, 3), (3, 0), (0, 0)])
def test_a_side_without_levels_is_a_fault(n_bid: int, n_ask: int) -> None:
    assert check_book(book(), n_bid, n_ask) == validation.EMPTY_SIDE


def test_a_book_with_swapped_sides_is_crossed() -> None:
    # sorted best first, as swapped sides are where they have one level; with more they are unsorted
    swapped = book(bid_price_0=101.0, ask_price_0=99.0)
    assert check_book(swapped, 1, 1) == validation.CROSSED
    swapped = book(**{f"bid_price_{i}": 101.0 + i for i in range(3)}, **{f"ask_price_{i}": 99.0 - i for i in range(3)})
    assert check_book(swapped, 3, 3) == validation.UNSORTED


def test_the_first_bad_level_gives_the_code() -> None:
    assert check_book(book(bid_size_1=-1.0, bid_price_2=nan, ask_price_0=nan), 3, 3) == validation.NOT_POSITIVE


def test_a_full_book_of_twenty_levels_is_read_to_its_end() -> None:
    flat = [0.0] * 87
    flat[0:20], flat[40:60] = [100.0 - i for i in range(20)], [101.0 + i for i in range(20)]
    flat[20:40] = flat[60:80] = [1.0] * 20
    assert check_book(vector(flat), 20, 20) == validation.OK
    for last in (19, 39, 59, 79):
        bad = list(flat)
        bad[last] = nan
        assert check_book(vector(bad), 20, 20) == validation.NOT_FINITE


FLOATS = st.floats(allow_nan=True, allow_infinity=True)


@given(prices=st.lists(FLOATS, min_size=4, max_size=4), sizes=st.lists(FLOATS, min_size=4, max_size=4))
def test_a_book_is_ok_exactly_where_the_rule_says_so(prices: list[float], sizes: list[float]) -> None:
    flat = [0.0] * 87
    flat[0:2], flat[40:42] = prices[:2], prices[2:]
    flat[20:22], flat[60:62] = sizes[:2], sizes[2:]
    good = all(0 < x <= 1e15 for x in prices + sizes) and prices[1] < prices[0] < prices[2] < prices[3]
    assert (check_book(vector(flat), 2, 2) == validation.OK) == good


def test_values_outside_their_range_or_infinite_become_null_and_are_counted() -> None:
    low, high = vector([0.0, -1.0, -inf, 0.0]), vector([inf, 1.0, inf, 10.0])
    counts = vector([0.0] * 4)
    row = vector([-1e-9, 1.0, inf, 10.0])
    assert check_ranges(row, low, high, counts) == 2
    assert [None if isnan(x) else x for x in row] == [None, 1.0, None, 10.0]
    row = vector([5.0, nextafter(1.0, 2.0), -inf, nan])
    assert check_ranges(row, low, high, counts) == 2
    assert [None if isnan(x) else x for x in row] == [5.0, None, None, None]
    assert list(counts) == [1.0, 1.0, 2.0, 0.0]


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: v.name)
def test_ranges_of_a_view_are_the_catalogue_s_by_slot(view: Any) -> None:
    low, high = ranges(view)
    assert len(low) == len(high) == len(view.features)
    assert all(a < b for a, b in zip(low, high, strict=True))


def test_a_range_is_found_at_the_slot_of_its_feature() -> None:
    low, high = ranges(MICROSTRUCTURE)
    slot = MICROSTRUCTURE.index["spread_pct"]
    assert (low[slot], high[slot]) == (0.0, 200.0)
