"""What is known of one symbol of a Binance capture: its book, the diffs that wait, and its trades."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ingest.messages.kinds import Gap, OrderBook, time_fields
from ingest.recordings import binance_wire as wire
from ingest.recordings.binance_trades import TradesTold
from ingest.recordings.book import Book
from ingest.recordings.followed_trades import Followed
from ingest.recordings.lines import Line
from ingest.recordings.markets import FUTURES
from ingest.recordings.renewal import Renewal
from transforms.instrument import Instrument
from transforms.limits import MAX_LEVELS

FORCED_KEPT = 64  # forced orders of a symbol that are told from repeats; the venue tells one a second at most
SLOWER_NS = 250_000_000
"""How long a diff is expected of a slower connection. Later its book would be late, by the default of ``TFS_ALLOWED_LATENESS_MS``."""


@dataclass(slots=True)
class SymbolState:
    """The book of one symbol and the diffs that wait."""

    contract: Instrument  # what its sizes are worth, which tells the depths
    book: Book = field(default_factory=Book)
    last: int | None = None  # the update up to which the book is known; None before the first snapshot
    fresh: bool = False  # the book is a snapshot to which no diff was applied yet
    lost: bool = False  # a gap after ``last`` was reported
    began: int = 0  # the update of the snapshot from which the book was made
    ids_may_restart: bool = False  # its connection was lost, and no diff was applied since
    connections: int = 1  # that tell its diffs now
    is_merged: bool = False  # several connections or files told of it, so a diff may come again
    source: str = ""  # the file of its newest diff
    held: deque[tuple[wire.Diff, Line]] = field(default_factory=deque)  # diffs that wait, each with its line
    renewal: Renewal = field(default_factory=Renewal)
    passed: bool = False  # it was reported that the price has left what is known of the book
    sequence: int = 0
    market: str | None = None  # spot or futures, once a message told
    trades: TradesTold = field(default_factory=TradesTold)
    form: str | None = None  # of its newest trade: ``trade`` or ``aggTrade``
    followed: Followed = field(default_factory=Followed)
    after_newest_us: int = 0  # right after the newest event time of its diffs and trades
    after_booked_us: int = 0  # right after the event time of its newest book
    marked_us: int = 0  # the newest time of a mark price
    interest_us: int = 0  # and of an open interest
    forced: deque[tuple[Any, ...]] = field(
        default_factory=lambda: deque(maxlen=FORCED_KEPT)
    )  # what tells the last forced orders
    hears_liquidations: bool = False  # a connection of our feed carries them
    begins_liquidations: bool = False  # it does so since the last mark price
    silent: set[str] = field(default_factory=set)  # channels that were told to be silent, and have not spoken since

    def can_apply(self, diff: wire.Diff) -> bool:
        """Return whether a diff follows the book."""
        return self.last is not None and (diff.follows(self.last) or (self.fresh and diff.spans(self.last)))

    def takes(self, snapshot: wire.Snapshot) -> bool:
        """Return whether a snapshot may begin the book: it has none, or one that is lost and not past the snapshot."""
        return self.last is None or (self.lost and (snapshot.last > self.last or self.ids_may_restart))

    def hear(self, source: str) -> None:
        """Note the file of a diff: one of another file than before may repeat what that said, or be ahead of it."""
        if self.source and source != self.source:
            self.is_merged, self.connections = True, max(self.connections, 2)
        self.source = source

    def waits(self, line: Line) -> bool:
        """Return whether a slower connection may still tell the diff that is missing before those that are held."""
        return self.connections > 1 and line.received_ns - self.held[0][1].received_ns < SLOWER_NS

    def missing_between(self, trade: wire.Trade) -> int:
        """Return how many trades are missing before the first one in another form, as far as that is known."""
        return 0 if self.market == FUTURES else self.trades.missing_between(trade)

    def start(self, snapshot: wire.Snapshot) -> int:
        """Start the book from a snapshot; return how many waiting diffs it covers. Before the first snapshot these do not wait longer."""
        n_waiting = len(self.held)
        if self.last is None:
            self.held = deque((diff, line) for diff, line in self.held if diff.last > snapshot.last)
        self.book = Book(snapshot.bids, snapshot.asks)
        self.last = self.began = snapshot.last
        self.fresh = True
        self.renewal.clear()
        return n_waiting - len(self.held)

    def renew(self, snapshot: wire.Snapshot) -> bool:
        """Use a snapshot for a book that is known, if it is later than the diffs that were kept for it; return whether it was used."""
        book = self.renewal.renewed(self.book, snapshot)
        if book is None:
            return False
        self.book = book
        self.renewal.clear()
        return True

    def next_book(self, diff: wire.Diff, received: Line) -> OrderBook:
        """Return the message of the book after a diff, which counts as received with a line."""
        self.after_booked_us = diff.after_us
        self.followed.give(diff.time_us)
        self.sequence = self.sequence + 1 if self.sequence else diff.time_us // 1000
        bids, asks = self.book.best(MAX_LEVELS)
        depth = self.book.depth(self.contract)
        ms, us = time_fields(diff.time_us)
        return OrderBook(ms, diff.symbol, bids, asks, self.sequence, received.received_ms, depth, us)

    def gap(self, diff: wire.Diff, received: Line) -> Gap:
        """Return the note that the book is unknown from a diff on, but after its newest book: of equal times a gap would come first."""
        ms, us = time_fields(max(diff.time_us, self.after_booked_us))
        return Gap(ms, diff.symbol, received.received_ms, us)
