"""Whole books of a symbol: each is checked and given, and what is no book makes the one before it unknown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ingest.imports.formats.form import Context, checked
from ingest.messages.kinds import Gap, OrderBook, time_fields
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.binance_wire import check_levels
from ingest.recordings.book import Level
from ingest.recordings.lines import Parsed
from transforms.microstructure.layout import Depth

ONE_SIDED = "book with an empty side"
CROSSED = "crossed or locked book, as before an opening auction"


class Books:
    """The books of one symbol, best level first. A book of one side, or a crossed one, is passed over."""

    def __init__(self, symbol: str, context: Context) -> None:
        self.symbol = symbol
        self._passed_over = context.passed_over
        self._is_known = False

    def give(
        self, bids: Sequence[Level], asks: Sequence[Level], at_us: int, received: int | None, depth: Depth | None = None
    ) -> Iterator[Parsed]:
        """Yield a book, or that it is unknown; raise ``Refused`` after that for one that cannot be."""
        why = ONE_SIDED if not (bids and asks) else CROSSED if bids[0][0] >= asks[0][0] else ""
        if why:
            self._passed_over[why] += 1
            yield from self.lose(at_us, received)
            return
        try:
            for levels, sign in (bids, -1), (asks, 1):
                check_levels(levels, snapshot=True)
                if any((after[0] - before[0]) * sign <= 0 for before, after in pairwise(levels)):
                    raise Refused(Reason.UNSORTED_SIDE, f"levels {levels!s:.80}")
        except Refused:
            yield from self.lose(at_us, received)
            raise
        timestamp, timestamp_us = time_fields(at_us)
        message = OrderBook(
            timestamp, self.symbol, list(bids), list(asks), received=received, depth=depth, timestamp_us=timestamp_us
        )
        parsed = checked("book", message, received)
        self._is_known = True
        yield parsed

    def lose(self, at_us: int, received: int | None) -> Iterator[Parsed]:
        """Say that the book is unknown from now on, if it was known."""
        if self._is_known:
            self._is_known = False
            timestamp, timestamp_us = time_fields(at_us)
            yield checked("gap", Gap(timestamp, self.symbol, received, timestamp_us), received)
