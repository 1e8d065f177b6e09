"""How far a book is known, and the depths over what is known."""

from __future__ import annotations

import random
from decimal import Decimal
from math import inf

import pytest

from ingest.recordings.book import Book, limit_of

Level = tuple[float, float]


def sides(n_bids: int, n_asks: int, mid: int = 1000) -> tuple[list[Level], list[Level]]:
    return [(mid - 0.5 - i, 1.0) for i in range(n_bids)], [(mid + 0.5 + i, 1.0) for i in range(n_asks)]


@pytest.mark.parametrize(
    ("n_bids", "n_asks", "limit"),
    [(1000, 1000, 1000), (5000, 312, 5000), (5, 5, 5), (400, 400, 400), (999, 873, inf), (7, 7, inf), (0, 0, inf)],
)
def test_the_number_of_levels_tells_whether_a_snapshot_was_cut(n_bids: int, n_asks: int, limit: float) -> None:
    assert limit_of(n_bids, n_asks) == limit


def test_levels_past_the_end_of_a_cut_snapshot_are_not_known_until_the_next() -> None:
    book = Book(*sides(5, 5))
    book.apply([(990.0, 7.0)], [(1010.0, 7.0)])
    assert book.best(20) == sides(5, 5)
    book.apply([(price, 0.0) for price, _ in sides(4, 0)[0]], [])
    assert book.best(20) == ([(995.5, 1.0)], sides(5, 5)[1]), "990 stands behind levels that nobody has heard of"
    assert not book.passed
    book.apply([(995.5, 0.0)], [])
    assert book.passed and book.depth() is None
    book.apply([(997.0, 3.0)], [])
    assert not book.passed and book.best(20)[0] == [(997.0, 3.0)], "a price within what is known is known again"


def test_a_side_that_is_shorter_than_the_other_is_whole() -> None:
    bids, asks = sides(5, 3)
    book = Book(bids, asks)
    book.apply([(1.0, 7.0)], [(5000.0, 7.0)])
    assert book.best(20) == (bids, [*asks, (5000.0, 7.0)])


def test_a_new_snapshot_is_due_when_the_price_has_come_halfway_to_the_end() -> None:
    book = Book(*sides(5, 5))
    assert not book.fading
    book.apply([], [(1000.5, 0.0), (1001.5, 0.0)])
    assert not book.fading
    book.apply([], [(1002.5, 0.0)])
    assert book.fading
    assert not Book(*sides(3, 2)).fading


@pytest.mark.parametrize("n", [1000, 640])
def test_depths_are_those_of_decimal_arithmetic_and_null_past_the_last_known_level(n: int) -> None:
    rng = random.Random(n)
    book = Book(
        [(round(1000 - 0.01 * (i + 1), 2), rng.randrange(1, 10**6) / 1e4) for i in range(n)],
        [(round(1000 + 0.004 * (i + 1), 3), rng.randrange(1, 10**6) / 1e4) for i in range(n - 3)],
    )
    book.apply([(990.0, 5.0)], [(1004.5, 5.0)])
    found = book.depth()
    assert found is not None
    bids, asks = (list(zip(side.prices, side.sizes, strict=True)) for side in (book.bids, book.asks))
    mid = (Decimal(str(max(bids)[0])) + Decimal(str(min(asks)[0]))) / 2
    for sign, side, known, depths in (
        (-1, bids, 990 if n == 1000 else None, found[0]), (1, asks, None, found[1])
    ):  # fmt: skip
        for bps, value in zip((10, 25, 50), depths, strict=True):
            edge = mid * (1 + sign * Decimal(bps) / 10_000)
            if known is not None and known >= edge:
                assert value is None
                continue
            levels = [(Decimal(str(p)), Decimal(str(q))) for p, q in side]
            expected = sum(p * q for p, q in levels if sign * p <= sign * edge)
            assert value == pytest.approx(float(expected), rel=1e-12)
