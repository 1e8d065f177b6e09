"""The books that cryptofeed keeps, kept once more as ours, so that depths over thousands of levels are fast.

cryptofeed gives its book and what changed. The change is applied to ours; where the best levels then differ, ours is built anew from
theirs. Most venues that cut their snapshot at N levels go on to send the best N, so N levels are known at every moment. Binance's
protocol is the exception: it sends every change, so the book is known as far as its snapshot was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ingest.recordings.book import Book, Level, limit_of


class VenueBook:
    """One book of a venue.

    Parameters
    ----------
    is_window : bool
        Whether the venue sends the best N levels at every moment, N being the number of levels of its snapshot.
    """

    __slots__ = ("_is_window", "_limit", "book")

    def __init__(self, is_window: bool) -> None:
        self._is_window = is_window
        self._limit = 0.0
        self.book = Book()

    def update(self, theirs: Any, delta: Any) -> Book:
        """Return our book after an update; ``delta`` is None where ``theirs`` is a snapshot."""
        if delta is None:
            self.book = Book(_levels(theirs.bids), _levels(theirs.asks))
            self._limit = limit_of(len(theirs.bids), len(theirs.asks))
        elif not self.book.apply(_floats(delta["bid"]), _floats(delta["ask"])) or not self._agrees(theirs):
            before, self.book = self.book, Book(_levels(theirs.bids), _levels(theirs.asks))
            self.book.bids.known, self.book.asks.known = before.bids.known, before.asks.known
        if self._is_window:
            self.book.bids.keep(self._limit)
            self.book.asks.keep(self._limit)
        return self.book

    def _agrees(self, theirs: Any) -> bool:
        ours = self.book.bids.best(1), self.book.asks.best(1)
        return self.book.passed or ours == (_levels(theirs.bids, 1), _levels(theirs.asks, 1))


def _levels(side: Any, most: int | None = None) -> list[Level]:
    n = len(side) if most is None else min(most, len(side))
    return _floats(side.index(i) for i in range(n))


def _floats(levels: Iterable[tuple[Any, Any]]) -> list[Level]:
    return [(float(price), float(size)) for price, size in levels]
