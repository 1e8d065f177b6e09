"""An order book that a snapshot begins and changes of single levels keep up to date."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from ingest.imports.formats.form import Context, checked
from ingest.messages.kinds import Gap, OrderBook, time_fields
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.binance_wire import check_levels
from ingest.recordings.book import Book, Level
from ingest.recordings.lines import Parsed
from transforms.limits import MAX_LEVELS

BEFORE_SNAPSHOT = "change of a book before its snapshot"


class Changes:
    """The book of one symbol. ``depth`` is how many levels the venue keeps up to date; infinity where it keeps all."""

    def __init__(self, symbol: str, context: Context, depth: float = inf) -> None:
        self._symbol, self._context, self._depth = symbol, context, depth
        self._book: Book | None = None
        self._instrument = context.instrument(symbol)
        self._last: tuple[int, int | None] | None = None  # the times of the newest book given

    def begin(
        self, bids: Sequence[Level], asks: Sequence[Level], at_us: int, received: int | None = None
    ) -> Iterator[Parsed]:
        """Begin anew with a snapshot."""
        had, self._book = self._book, None
        try:
            check_levels(bids, snapshot=True)
            check_levels(asks, snapshot=True)
            book = Book(bids, asks)
            if book.crossed:
                raise Refused(Reason.CROSSED_BOOK, "a snapshot")
            if not (bids and asks):
                raise Refused(Reason.EMPTY_BOOK, "a side of a snapshot without levels")
        except Refused:
            if had is not None:
                yield self._unknown(at_us, received)
            raise
        self._book = book
        yield from self._given(book, at_us, received)

    def change(
        self, bids: Sequence[Level], asks: Sequence[Level], at_us: int, received: int | None = None
    ) -> Iterator[Parsed]:
        """Apply a change; a size of 0 removes a level. One before the snapshot is passed over."""
        book = self._book
        if book is None:
            self._context.passed_over[BEFORE_SNAPSHOT] += 1
            return
        try:
            check_levels(bids)
            check_levels(asks)
            if not book.apply(bids, asks):
                raise Refused(Reason.CROSSED_BOOK, "a change; the book is unknown until the next snapshot")
        except Refused:
            self._book = None
            yield self._unknown(at_us, received)
            raise
        yield from self._given(book, at_us, received)

    def lose(self) -> Iterator[Parsed]:
        """Forget the book until the next snapshot: something is missing behind the newest book."""
        if self._book is not None and self._last is not None:
            self._book = None
            yield self._unknown(*self._last)

    def _given(self, book: Book, at_us: int, received: int | None) -> Iterator[Parsed]:
        if self._depth != inf:
            book.bids.keep(self._depth)
            book.asks.keep(self._depth)
        bids, asks = book.best(MAX_LEVELS)
        if not (bids and asks):  # the price has left what is known, or a side is empty
            yield self._unknown(at_us, received)
            return
        timestamp, timestamp_us = time_fields(at_us)
        message = OrderBook(
            timestamp,
            self._symbol,
            bids,
            asks,
            received=received,
            depth=book.depth(self._instrument),
            timestamp_us=timestamp_us,
        )
        self._last = at_us, received
        yield checked("book", message, received)

    def _unknown(self, at_us: int, received: int | None) -> Parsed:
        timestamp, timestamp_us = time_fields(at_us)
        return checked("gap", Gap(timestamp, self._symbol, received, timestamp_us), received)
