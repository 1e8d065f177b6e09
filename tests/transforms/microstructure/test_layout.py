"""Levels of a message in the flat book, and the size of the state."""

import random

import pytest

from transforms.microstructure.layout import (
    FLAT_ASK_PRICE,
    FLAT_ASK_SIZE,
    FLAT_BID_PRICE,
    FLAT_BID_SIZE,
    capacity,
    empty,
    fill,
    fill_depth,
    size,
)


def side(n: int, seed: int) -> list[tuple[float, float]]:
    rng = random.Random(seed)
    return [(rng.random() * 100, rng.random()) for _ in range(n)]


@pytest.mark.parametrize(("n_bid", "n_ask"), [(20, 20), (1, 20), (20, 7), (3, 3)])
def test_each_level_lies_in_its_slot(n_bid, n_ask):
    bids, asks = side(n_bid, 1), side(n_ask, 2)
    book = empty(20)
    assert fill(book, bids, asks) == (n_bid, n_ask)
    expected = [0.0] * len(book)
    for at, levels in ((0, bids), (40, asks)):
        for i, (price, quantity) in enumerate(levels):
            expected[at + i], expected[at + 20 + i] = price, quantity
    assert list(book) == expected


def test_an_empty_side_writes_nothing():
    book = empty(20)
    assert fill(book, [], side(20, 1)) == (0, 20)
    assert not any(book)


def test_the_parts_of_a_book_lie_one_behind_the_other():
    book = empty(20)
    assert fill(book, [(99.0, 1.0)], [(101.0, 2.0), (102.0, 3.0)]) == (1, 2)
    assert (book[FLAT_BID_PRICE], book[FLAT_BID_SIZE]) == (99.0, 1.0)
    assert (book[FLAT_ASK_PRICE + 1], book[FLAT_ASK_SIZE + 1]) == (102.0, 3.0)


@pytest.mark.parametrize(("n_bid", "n_ask"), [(25, 30), (3, 21), (200, 1)])
def test_a_deep_book_has_room_for_all_levels(n_bid, n_ask):
    bids, asks = side(n_bid, 1), side(n_ask, 2)
    room = max(n_bid, n_ask)
    book = empty(room)
    assert (capacity(book), fill(book, bids, asks)) == (room, (n_bid, n_ask))
    for at, levels in ((0, bids), (2 * room, asks)):
        for i, (price, quantity) in enumerate(levels):
            assert (book[at + i], book[at + room + i]) == (price, quantity)


def test_depths_stand_behind_the_levels_bid_and_ask_by_turns_until_the_next_book():
    book = empty(20)
    fill_depth(book, ((1.0, 2.0, None), (4.0, 5.0, 6.0)))
    assert [str(float(x)) for x in book[80:]] == ["1.0", "1.0", "4.0", "2.0", "5.0", "nan", "6.0"]
    for n in (20, 3):
        book[80] = 1.0
        fill(book, side(n, 1), side(n, 2))
        assert book[80] == 0.0


def test_a_state_holds_its_two_rings():
    assert size(1_000_000) == 271
    assert size(100_000) == 1261
