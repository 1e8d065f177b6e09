"""A book kept by changes of single levels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.recordings.book import Book

LEVELS = st.lists(st.tuples(st.integers(1, 30).map(float), st.integers(0, 3).map(float)), max_size=12)


def test_the_best_levels_come_best_first_and_a_size_of_zero_removes_a_level() -> None:
    book = Book(bids=[(99.0, 1.0), (98.0, 2.0)], asks=[(101.0, 3.0), (102.0, 4.0)])

    assert book.apply(bids=[(98.5, 5.0), (99.0, 0.0)], asks=[(101.0, 7.0)])

    assert book.best(20) == ([(98.5, 5.0), (98.0, 2.0)], [(101.0, 7.0), (102.0, 4.0)])
    assert book.best(1) == ([(98.5, 5.0)], [(101.0, 7.0)])


def test_removing_a_level_that_is_not_there_changes_nothing() -> None:
    book = Book(bids=[(99.0, 1.0)], asks=[(101.0, 3.0)])
    assert book.apply(bids=[(50.0, 0.0)], asks=[])
    assert book.best(20) == ([(99.0, 1.0)], [(101.0, 3.0)])


def test_a_change_that_would_cross_the_book_leaves_it_as_it_was() -> None:
    book = Book(bids=[(99.0, 1.0)], asks=[(101.0, 3.0), (102.0, 1.0)])
    before = book.best(20)

    assert not book.apply(
        bids=[(99.0, 0.0), (98.0, 9.0), (101.0, 2.0)], asks=[(102.0, 0.0), (101.0, 5.0), (101.0, 6.0)]
    )

    assert book.best(20) == before
    assert book.bids.prices.tolist() == [99.0]


def test_a_price_may_move_through_the_other_sides_old_level_in_one_change() -> None:
    book = Book(bids=[(99.0, 1.0)], asks=[(101.0, 3.0), (102.0, 1.0)])
    assert book.apply(bids=[(101.0, 2.0)], asks=[(101.0, 0.0)])
    assert book.best(1) == ([(101.0, 2.0)], [(102.0, 1.0)])


@given(start=LEVELS, changes=st.lists(st.tuples(LEVELS, LEVELS), max_size=8))
def test_a_book_is_what_a_dictionary_of_its_accepted_changes_is(start: list, changes: list) -> None:
    bids = {p: q for p, q in start if q}
    asks: dict[float, float] = {}
    book = Book()
    assert book.apply(bids.items(), [])
    for bid_changes, ask_changes in changes:
        new_bids, new_asks = {**bids, **dict(bid_changes)}, {**asks, **dict(ask_changes)}
        new_bids = {p: q for p, q in new_bids.items() if q}
        new_asks = {p: q for p, q in new_asks.items() if q}
        crossed = bool(new_bids and new_asks) and max(new_bids) >= min(new_asks)
        assert book.apply(bid_changes, ask_changes) is not crossed
        if not crossed:
            bids, asks = new_bids, new_asks
        assert book.best(50) == (sorted(bids.items(), reverse=True), sorted(asks.items()))
