"""One symbol: the order of its messages, its kernels, and what it remembers to refuse a repeated message."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from ingest.messages.check import check_depth, check_gap, check_microprice, check_score, check_trade, known_trade_id
from ingest.messages.envelope import Envelope
from ingest.messages.flat_book import FlatBook
from ingest.messages.kinds import (
    BOOK_CHANNEL,
    LIQUIDATION_CHANNEL,
    MAX_INTEGER,
    TRADE_CHANNEL,
    Gap,
    MicropriceTable,
    Neighbour,
    OrderBook,
    Trade,
    WithdrawnPost,
    post_identity,
    since_us,
    time_us,
)
from ingest.messages.posts import as_counted
from ingest.messages.refusal import Reason, Refused
from ingest.settings import Settings
from ingest.streams.keys import partition_of
from ingest.worker import contract
from ingest.worker.book_faults import book_refusal
from ingest.worker.timeline import Timeline
from transforms import validation
from transforms.catalog import CONTEXT, View
from transforms.engine import Engine
from transforms.kernel import NAN, Vector
from transforms.saved import VersionError

SIDE = {"buy": 1, "sell": -1, None: 0}
FORMAT = 3  # of the saved part "order"; another one is refused like a state of other kernels
OLDER_FORMATS = (2,)  # without `ticks_from_ms` at the end; a restart takes the order over from them
TABLES_HELD = 512  # the most microprice tables that may wait for their time: their producer cannot fill the memory

Emit = Callable[["Symbol", View, int, Vector], None]
"""Is given each row: its symbol, its view, its time in microseconds and its values, which the next row overwrites."""
Refuse = Callable[[Envelope, Exception], None]
"""Is given a message that was accepted when it arrived, and the error that came up at its turn."""


class Symbol:
    """Order, kernels and memory of one symbol: messages in, rows out.

    Attributes
    ----------
    recorded : bool
        Whether its newest message came from a recording: then no wall clock makes time pass for it.
    received_us : int
        The newest receive time of its books, trades and gaps, 0 before any; a recorded row became available then. Posts do not count
        here: a replay publishes them ahead of the market, and they are held until their time.
    ticks_from_ms : int
        From when on ticks may make time pass, by the arrival of entries: a feed's clock did so before. 0 where no feed has a clock.
    """

    __slots__ = (
        "_emit", "_held_ids", "_instrument", "_refuse", "_sequence", "engine", "name", "received_us", "recorded", "ticks_from_ms",
        "timeline",
    )  # fmt: skip

    def __init__(self, name: str, settings: Settings, emit: Emit, refuse: Refuse) -> None:
        self.name = name
        self._instrument = settings.instrument(name)
        self.engine = Engine(self._instrument, settings.emit_us, settings.neighbours(name))
        self.timeline = Timeline(settings.emit_us, settings.allowed_lateness_ms * 1000)
        self.recorded = False
        self.received_us = 0
        self.ticks_from_ms = 0
        self._sequence: int | None = None
        self._held_ids: set[int | str] = set()
        self._emit = emit
        self._refuse = refuse

    def accept(self, envelope: Envelope) -> None:
        """Accept a message whose header was checked; raise ``Refused``, and change nothing, if it is late, repeated or impossible."""
        kind, message = envelope.kind, envelope.message
        if kind == "microprice":
            self._accept_table(envelope)
            return
        if kind == "withdrawal":
            if message.partitions == 1 or partition_of(self.name, message.partitions) == message.partition:
                self.timeline.hold(max(time_us(message), self.timeline.watermark), kind, 0, envelope)
            return
        t_us = time_us(message)
        timeline = self.timeline
        sequence = 0
        if kind == "tick":
            if message.lost:
                self._lose_feed(t_us)
            timeline.tick(t_us)
        elif kind == "post":
            check_score(message)
            # A score counts from when it could be known and never changes a row that is written: so it is never late.
            t_us = max(message.available * 1000, timeline.watermark)
        elif kind == "gap":
            check_gap(message)
            if message.channel != BOOK_CHANNEL:
                t_us = since_us(message)
            if message.channel == LIQUIDATION_CHANNEL:
                kind = "liquidation"  # its place among the others: it says nothing of how far the market is
            # never late: the rows before are written, and those from now on have the gap
            t_us = max(t_us, timeline.watermark)
        elif type(message) in contract.OF_CONTRACT:
            t_us = contract.accept(message, timeline.watermark)
        elif timeline.is_late(t_us):
            raise Refused(Reason.LATE, f"{(timeline.watermark - t_us) / 1000} ms behind the watermark")
        elif kind == "trade":
            check_trade(message)
            if not self._instrument.holds(message.size, message.price):
                digits = self._instrument.size_digits
                raise Refused(Reason.OUT_OF_RANGE, f"size {message.size} is no lot of 1e-{digits}; see size_digits")
            sequence = self._hold_id(message.trade_id)
        elif kind == "book":
            if message.depth is not None:
                check_depth(message.depth)
            if message.sequence is not None:
                sequence = message.sequence
                if not 0 <= sequence < MAX_INTEGER:
                    raise Refused(Reason.OUT_OF_RANGE, f"sequence {sequence!s:.40}")
        self.recorded = envelope.recorded
        if kind != "post":
            self.received_us = max(self.received_us, envelope.received_ms * 1000)
        if kind != "tick":
            timeline.hold(t_us, kind, sequence, envelope)
        self._advance()

    def hear_feed(self, envelope: Envelope, ticks_from_ms: int) -> bool:
        """Take a clock or a hold of the symbol's feed; return whether it changed anything.

        A symbol that waits for nothing stays as it is, so that the clock of a feed costs it nothing.
        """
        if envelope.recorded != self.recorded or not self._waits():
            return False
        self.ticks_from_ms = ticks_from_ms
        if envelope.kind == "clock":
            self.received_us = max(self.received_us, envelope.received_ms * 1000)
            self.timeline.pass_to(time_us(envelope.message))
            self._advance()
        return True

    def hear_neighbour(self, envelope: Envelope) -> bool:
        """Take a row that a neighbour finished; return whether it told anything new."""
        row: Neighbour = envelope.message
        context = self.engine.context
        values = (NAN if x is None else x for x in (row.mid, row.bid_size, row.ask_size))
        if context is None or not context.hear(row.neighbour, time_us(row), *values):
            return False
        if self.recorded:
            self.received_us = max(self.received_us, envelope.received_ms * 1000)
        self.emit_context()
        return True

    def _lose_feed(self, until_us: int) -> None:
        """Let the book be unknown behind what was heard, and the trades until ``until_us``, as a feed that comes back tells it."""
        timeline, engine = self.timeline, self.engine
        _, lost_us = engine.last_hole_us()
        if lost_us >= timeline.watermark - 1 and not timeline.holds_market():  # a tick before said so
            engine.lose_trades(lost_us, until_us)
            engine.contract.lose(until_us, if_heard=True)
            return
        newest_us = timeline.heard_us()
        if newest_us >= until_us:
            return
        since_us = max(timeline.watermark, timeline.newest_trade_us())
        timeline.pass_to(newest_us + 1)
        self.know_before(since_us)
        engine.lose_trades(since_us, until_us)
        engine.contract.lose(until_us, if_heard=True)
        self.know_before(newest_us + 1)
        self._lose_book(newest_us + 1)

    def _lose_book(self, t_us: int) -> None:
        """Let the book be unknown, if it is not yet: a hole that is told again is no word of the feed, and gives no rows for longer."""
        self._sequence = None
        if not self.engine.has_lost_book():
            self.engine.lose_book(t_us)

    def _accept_table(self, envelope: Envelope) -> None:
        """Hold a table until its rows begin. Like a score it is never late, and it says nothing of how far the feeds are."""
        table: MicropriceTable = envelope.message
        check_microprice(table)
        if self.timeline.tables() >= TABLES_HELD:
            raise Refused(Reason.OUT_OF_RANGE, f"{TABLES_HELD} microprice tables wait already")
        t_us = max(table.usable_from * 1000, self.timeline.watermark)
        self.timeline.hold(t_us, "microprice", table.version, envelope)

    def _hold_id(self, trade_id: int | str | None) -> int:
        """Refuse a trade whose id is held already, and return its place among trades of the same time.

        The ids of the trades that are held are all that need be remembered: a trade that was given to the kernels lies behind the
        watermark, and so would its repeat, which is refused as late. So no burst is too long, and no id is kept longer than its trade.
        """
        number = known_trade_id(trade_id)
        if number is None:
            return 0
        if number in self._held_ids:
            raise Refused(Reason.DUPLICATE, f"trade_id {trade_id}")
        self._held_ids.add(number)
        return number if isinstance(number, int) else 0

    def _apply(self, t_us: int, envelope: Envelope) -> None:
        """Give a message to the kernels, now that every message before it is known."""
        try:
            message = envelope.message
            kind = type(message)
            if kind is Trade:
                self._held_ids.discard(known_trade_id(message.trade_id))
                self.engine.trade(t_us, message.price, message.size, SIDE[message.side])
                if message.next_funding is not None:
                    self.engine.next_funding(message.next_funding * 1000)
            elif kind is FlatBook or kind is OrderBook:
                self._apply_book(t_us, message)
            elif kind in contract.OF_CONTRACT:
                contract.apply(self.engine, message)
            elif kind is Gap and message.channel == TRADE_CHANNEL:
                self.engine.lose_trades(since_us(message), time_us(message))
            elif kind is Gap and message.channel == BOOK_CHANNEL:
                self._lose_book(t_us)
            elif kind is Gap:
                self.engine.contract.lose(time_us(message))
            elif kind is MicropriceTable:
                self.engine.install_microprice(t_us, message.tick, message.g)
            elif kind is WithdrawnPost:
                self.engine.withdraw_post(t_us, post_identity(message.source, message.id))
            elif not self.engine.post(t_us, as_counted(message)):
                raise Refused(
                    Reason.TOO_OLD, "it was written before the posts that are remembered, and may have been counted"
                )
        except Exception as error:  # else the message that made time pass would be refused in its place
            self._refuse(envelope, error)

    def check_book(self, book: FlatBook | OrderBook) -> None:
        """Refuse a book that its turn would refuse, whatever came before it."""
        if isinstance(book, FlatBook):
            fault = validation.check_book(book.levels, book.n_bid, book.n_ask)
            if fault != validation.OK:
                raise book_refusal(fault)

    def _apply_book(self, t_us: int, book: FlatBook | OrderBook) -> None:
        last, self._sequence = self._sequence, book.sequence
        if last is not None and book.sequence is not None and book.sequence != last + 1:
            if book.sequence == last:
                raise Refused(Reason.DUPLICATE, f"sequence {last}")
            self._sequence = None  # the next book stands for itself, whatever its number
            self.engine.lose_book(t_us)
            raise Refused(Reason.SEQUENCE_GAP, f"sequence {book.sequence} after {last}")
        if isinstance(book, FlatBook):
            fault = self.engine.flat_book(t_us, book.levels, book.n_bid, book.n_ask, book.depth)
        else:
            fault = self.engine.book(t_us, book.bids, book.asks, book.depth)
        if fault != validation.OK:
            self._sequence = None  # so that the next good book is accepted whatever its number
            raise book_refusal(fault)

    def _advance(self) -> None:
        """Give the kernels what the watermark has passed, and give the rows that are due."""
        self.timeline.advance(self._apply, self._emit_rows, self.engine.last_row_us)
        self.emit_context()

    def _emit_rows(self, t_us: int) -> None:
        for view, values in self.engine.emit(t_us):
            self._emit(self, view, t_us, values)
        self.emit_context()

    def emit_context(self, before_us: int = 0) -> None:
        """Give the rows of ``context`` that are due: they wait for neighbours, for one allowed lateness, and not before ``before_us``."""
        context = self.engine.context
        before_us = max(before_us, self.timeline.settled_us())
        while context is not None and (found := context.next_row(before_us)) is not None:
            t_us, values = found
            self._emit(self, CONTEXT, t_us, values)

    def waits_for_time(self) -> bool:
        """Return whether time that passes without a message would change anything: rows to come, or messages held."""
        return not self.recorded and self._waits()

    def _waits(self) -> bool:
        timeline = self.timeline
        context = self.engine.context
        is_due = 0 < timeline.boundary <= self.engine.last_row_us() or timeline.waits()
        return is_due or (context is not None and context.waiting_us() > 0)

    def save(self) -> dict[str, bytes]:
        """Return what a restart needs, in named parts."""
        memory = [self._sequence, self.recorded, self.received_us, self.ticks_from_ms]
        return {"order": msgspec.msgpack.encode([FORMAT, self.timeline.save(), memory]), **self.engine.save()}

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Replace the state by one that ``save`` returned, as far as it fits; raise ``VersionError`` if format or grid are others."""
        number, *saved = msgspec.msgpack.decode(parts["order"])
        if number != FORMAT:
            raise VersionError(f"the saved order has the format {number!s:.40}, this worker has {FORMAT}")
        self.engine.restore(parts)
        self._restore_order(*saved)

    def restart(self, parts: Mapping[str, bytes]) -> None:
        """Take over the order, and not the kernels, of a state of another format or grid.

        Rows that are written stay written, so what is behind the saved watermark stays late; and what was held is not lost.
        """
        number, *saved = msgspec.msgpack.decode(parts["order"])
        if number not in (FORMAT, *OLDER_FORMATS):
            return
        watermark, _, *rest = saved[0]
        self.know_before(watermark)  # the kernels may have been given entries again that are held: up to there
        self._restore_order([watermark, self.timeline.boundary, *rest], saved[1])

    def take_over(self, other: Symbol, kernels: Collection[str] | None = None, *, is_whole: bool = False) -> None:
        """Let kernels, those that begin anew unless others are named, have their states of a symbol that was given what the log still has.

        ``is_whole`` says that it heard all that the kernels need: else it may lack messages that came late when its history begins.
        """
        other.know_before(self.timeline.watermark)
        self.engine.take_over(other.engine, 0 if is_whole else self.timeline.lateness_us, kernels)

    def pass_time(self, t_us: int) -> None:
        """Let time pass up to ``t_us``; rows of ``context`` still wait for neighbours."""
        self.timeline.pass_to(t_us + 1 + self.timeline.lateness_us)
        self._advance()

    def know_before(self, t_us: int) -> None:
        """Let time pass until everything before ``t_us`` is known."""
        self.timeline.tick(t_us - 1)
        self._advance()

    def _restore_order(self, order: Sequence[Any], memory: Sequence[Any]) -> None:
        self._sequence, self.recorded, self.received_us, *rest = memory
        self.ticks_from_ms = rest[0] if rest else 0
        self.timeline.restore(order)
        held = (envelope.message for *_, envelope in self.timeline.held)
        ids = (known_trade_id(message.trade_id) for message in held if isinstance(message, Trade))
        self._held_ids = {number for number in ids if number is not None}
