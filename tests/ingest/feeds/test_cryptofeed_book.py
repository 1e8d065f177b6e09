"""cryptofeed's books as ours: the same levels after every change, and how far they are known."""

from __future__ import annotations

import random
from decimal import Decimal as D
from typing import Any

import pytest

from ingest.feeds.cryptofeed_book import VenueBook

theirs = pytest.importorskip("order_book", reason="the extra `feeds` is not installed")


def their_book(n: int) -> Any:
    book = theirs.OrderBook()
    book.bids = {D(1000 - i): D(1) for i in range(n)}
    book.asks = {D(1001 + i): D(1) for i in range(n)}
    return book


def change(book: Any, side: str, price: int, size: int) -> dict[str, list[tuple[D, D]]]:
    levels = book.bids if side == "bid" else book.asks
    if size:
        levels[D(price)] = D(size)
    elif D(price) in levels.to_dict():
        del levels[D(price)]
    return {"bid": [], "ask": [], side: [(D(price), D(size))]}


def test_ours_has_the_levels_of_theirs_after_every_change() -> None:
    rng = random.Random(3)
    book, ours = their_book(7), VenueBook(is_window=True)
    ours.update(book, None)
    for _ in range(300):
        side = rng.choice(("bid", "ask"))
        price = rng.randrange(980, 1001) if side == "bid" else rng.randrange(1001, 1022)
        if len(book.bids) < 2 or len(book.asks) < 2:
            price, size = (1000 if side == "bid" else 1001), 5
        else:
            size = rng.choice((0, 1, 5))
        kept = ours.update(book, change(book, side, price, size))
        expected = tuple([(float(p), float(q)) for p, q in levels.to_list()[:20]] for levels in (book.bids, book.asks))
        assert kept.best(20) == expected


def test_a_venue_that_sends_the_best_levels_is_known_to_the_last_of_them() -> None:
    book, ours = their_book(5), VenueBook(is_window=True)
    assert ours.update(book, None).bids.known == 996.0
    kept = ours.update(book, change(book, "ask", 1006, 2))
    assert (kept.asks.known, len(kept.asks.prices)) == (1005.0, 5), "the sixth is past what the venue keeps"
    kept = ours.update(book, change(book, "ask", 1001, 0))
    assert kept.asks.known == 1005.0
    kept = ours.update(book, change(book, "ask", 1006, 2))  # the venue sends what comes into its five again
    assert kept.asks.known == 1006.0 and kept.best(20)[1][-1] == (1006.0, 2.0)


def test_a_venue_that_sends_every_change_is_known_as_far_as_its_snapshot() -> None:
    book, ours = their_book(5), VenueBook(is_window=False)
    ours.update(book, None)
    kept = ours.update(book, change(book, "ask", 1006, 2))
    assert (kept.asks.known, kept.best(20)[1][-1][0]) == (1005.0, 1005.0)


def test_a_change_that_was_not_told_is_seen_in_the_best_levels() -> None:
    book, ours = their_book(3), VenueBook(is_window=True)
    ours.update(book, None)
    book.asks[D("1000.5")] = D(9)
    assert ours.update(book, {"bid": [], "ask": []}).best(1)[1] == [(1000.5, 9.0)]
