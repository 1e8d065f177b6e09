"""Levels of a message in the flat book."""

import random

import pytest

from transforms.kernel import zeros
from transforms.microstructure.levels import fill


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
        for i, (price, size) in enumerate(levels[:20]):
            expected[at + i], expected[at + 20 + i] = price, size
    assert list(book) == expected


def test_an_empty_side_writes_nothing():
    book = zeros(80)
    assert fill(book, [], side(20, 1)) == (0, 20)
    assert not any(book)
