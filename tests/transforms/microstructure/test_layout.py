"""Levels of a message in the flat book, and the size of the state."""

import random

import pytest

from transforms.kernel import zeros
from transforms.microstructure.layout import FLAT_ASK_PRICE, FLAT_ASK_SIZE, FLAT_BID_PRICE, FLAT_BID_SIZE, fill, size


def side(n: int, seed: int) -> list[tuple[float, float]]:
    rng = random.Random(seed)
    return [(rng.random() * 100, rng.random()) for _ in range(n)]


@pytest.mark.parametrize(("n_bid", "n_ask"), [(20, 20), (1, 20), (20, 7), (25, 30), (3, 3)])
def test_each_level_lies_in_its_slot(n_bid, n_ask):
    bids, asks = side(n_bid, 1), side(n_ask, 2)
    book = zeros(80)
    assert fill(book, bids, asks) == (min(n_bid, 20), min(n_ask, 20))
    expected = [0.0] * 80
    for at, levels in ((0, bids), (40, asks)):
        for i, (price, quantity) in enumerate(levels[:20]):
            expected[at + i], expected[at + 20 + i] = price, quantity
    assert list(book) == expected


def test_an_empty_side_writes_nothing():
    book = zeros(80)
    assert fill(book, [], side(20, 1)) == (0, 20)
    assert not any(book)


def test_the_parts_of_a_book_lie_one_behind_the_other():
    book = zeros(80)
    assert fill(book, [(99.0, 1.0)], [(101.0, 2.0), (102.0, 3.0)]) == (1, 2)
    assert (book[FLAT_BID_PRICE], book[FLAT_BID_SIZE]) == (99.0, 1.0)
    assert (book[FLAT_ASK_PRICE + 1], book[FLAT_ASK_SIZE + 1]) == (102.0, 3.0)


def test_a_state_holds_its_two_rings():
    assert size(1_000_000) == 264
    assert size(100_000) == 1254
