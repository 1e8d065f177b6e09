"""Records of Databento, in DBN files and in CSV, as messages of this project.

Trades, and books of the schemas ``mbp-1``, ``mbp-10`` and ``mbo``. The side of a trade is that of its aggressor. A record of a trade holds
the quote before it, so it gives no book. The book of an event is the one after its last record (``F_LAST``). A file is of one publisher:
two publishers of a data set are two markets.

Source: https://databento.com/docs/conventions/common-fields-enums-types
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ingest.imports.formats.books import Books
from ingest.imports.formats.changes import BEFORE_SNAPSHOT
from ingest.imports.formats.form import Context, Market, checked
from ingest.imports.formats.orders import ASK, BID, Order, Orders, Room
from ingest.messages.check import check_number, check_trade
from ingest.messages.kinds import Gap, Trade, time_fields
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.book import Level
from ingest.recordings.lines import Parsed
from transforms.limits import MAX_LEVELS

SCALE = 1_000_000_000
UNDEF_PRICE, UNDEF_TIME = 2**63 - 1, 2**64 - 1
LAST, TOP_OF_BOOK, SNAPSHOT, BAD_RECEIVED, MAYBE_BAD_BOOK = 128, 64, 32, 8, 4
ORDERS = 160  # the record type of ``mbo``
READ_TYPES = frozenset({0, 1, 10, ORDERS})
INSTRUMENTS_MAX = 10_000
_SIDE = {"A": "sell", "B": "buy", "N": None}
LACKS = (
    "Trades have no ids; a book of mbp-1 is its best level, one of mbp-10 ten levels, and one of mbo is known from the first record R "
    "(clear) on, with which a session or the snapshot of a day begins."
)
ONLY = "only the schemas trades, tbbo, mbp-1, mbp-10 and mbo are read: get one of them"


class Record(NamedTuple):
    """One record. Times are nanoseconds, None where they are undefined; so is a price. ``levels`` are those of ``mbp``, bids and asks."""

    type: int
    instrument: int
    publisher: int
    action: str
    side: str
    flags: int
    event_ns: int | None
    received_ns: int | None
    price: float | None
    size: int
    order_id: int
    levels: tuple[Sequence[Level], Sequence[Level]] | None


class _Instrument:
    """What is known of an instrument under a symbol."""

    def __init__(self, symbol: str, context: Context, room: Room) -> None:
        self.symbol = symbol
        self.books = Books(symbol, context)
        self.orders = Orders(room)
        self.contract = context.instrument(symbol)
        self.waits: tuple[Record, int, int | None] | None = None  # a record whose event may go on, and its times
        self.changed = False
        self.last_trade_us: int | None = None
        self.last: tuple[int, int | None] = 0, None  # the times of the newest record
        self.is_bad = False

    def lose_orders(self) -> Iterator[Parsed]:
        """Forget the orders, and say that the book that they made is unknown from the newest record on."""
        if self.orders.book is not None:
            self.orders.lose()
            yield from self.books.lose(*self.last)


def market_of(publisher: int) -> Market:
    """Return the market of a publisher, which is a venue of one data set."""
    return Market(f"databento-{publisher}")


def levels_of(pairs: Sequence[tuple[float | None, int]]) -> list[Level]:
    """Return the levels of a side that exist."""
    return [(price, float(size)) for price, size in pairs if price is not None and size]


def ns_of(value: int) -> int | None:
    """Return a time, None where it is undefined.

    >>> ns_of(2**64 - 1), ns_of(5)
    (None, 5)
    """
    return None if value == UNDEF_TIME else value


class Messages:
    """The messages of one file. ``symbol_of`` returns the symbol of a record, or raises ``Refused``."""

    def __init__(self, name: str, context: Context, symbol_of: Callable[[Record], str]) -> None:
        self._context, self._symbol_of, self._room = context, symbol_of, Room(name)
        self._instruments: dict[tuple[int, str], _Instrument] = {}
        self._publisher: int | None = None

    def take(self, record: Record) -> Iterator[Parsed]:
        """Yield the messages of a record; raise ``Refused`` after them if it is impossible."""
        if record.type not in READ_TYPES:
            raise Refused(Reason.WRONG_TYPE, f"a record of type {record.type}; {ONLY}")
        known = self._known(record)
        try:
            at_us, received = known.last = self._times(record)
        except Refused:
            if record.type == ORDERS:
                yield from known.lose_orders()
            raise
        if known.waits is not None and known.waits[1] != at_us:
            yield from self._give_waiting(known)
        yield from self._judge(known, record, at_us, received)
        if record.action == "T":
            yield self._trade(known, record, at_us, received)
        if record.type == ORDERS:
            yield from self._of_orders(known, record, at_us, received)
        elif record.levels is not None:
            if record.action != "T":
                known.waits = record, at_us, received
            if record.flags & LAST and known.waits is not None:
                yield from self._give_waiting(known)

    def finish(self) -> Iterator[Parsed]:
        """Yield the books that waited for the end of their event."""
        for known in self._instruments.values():
            if known.waits is not None:
                yield from self._give_waiting(known)

    def lose_orders(self) -> Iterator[Parsed]:
        """Say that every book that is made of orders is unknown: a row was lost, and nobody knows whose it was."""
        for known in self._instruments.values():
            yield from known.lose_orders()

    def _known(self, record: Record) -> _Instrument:
        if self._publisher is None:
            self._publisher = record.publisher
        if record.publisher != self._publisher:
            raise Refused(
                Reason.OTHER_MARKET,
                f"a record of publisher {record.publisher} in a file of publisher {self._publisher}: write a file for each, "
                "and give each a --prefix",
            )
        symbol = self._symbol_of(record)
        known = self._instruments.get((record.instrument, symbol))
        if known is None:
            if len(self._instruments) >= INSTRUMENTS_MAX:
                raise Refused(Reason.UNKNOWN_SYMBOL, f"{INSTRUMENTS_MAX} instruments are open")
            known = _Instrument(f"{self._context.prefix}{symbol}", self._context, self._room)
            self._instruments[record.instrument, symbol] = known
        return known

    def _times(self, record: Record) -> tuple[int, int | None]:
        """Return the event time in microseconds and the receive time in milliseconds, rounded up.

        An order of a snapshot has the time at which it was entered, which may be days ago, so the snapshot's own time counts.
        """
        received_ns = record.received_ns
        event_ns = received_ns if record.flags & SNAPSHOT and received_ns is not None else record.event_ns
        if event_ns is None:
            raise Refused(Reason.MISSING_FIELD, "ts_event is undefined")
        if record.flags & BAD_RECEIVED and not record.flags & SNAPSHOT:
            self._context.note("Some records have a time of receipt that Databento marks as inaccurate.")
        return event_ns // 1000, None if received_ns is None else -(-received_ns // 1_000_000)

    def _judge(self, known: _Instrument, record: Record, at_us: int, received: int | None) -> Iterator[Parsed]:
        """Say once what a damaged channel may have lost: the book, and the trades since the last one."""
        was_bad, known.is_bad = known.is_bad, bool(record.flags & MAYBE_BAD_BOOK)
        if not known.is_bad:
            return
        known.waits = None
        known.orders.lose()
        yield from known.books.lose(at_us, received)
        if not was_bad:
            since, since_us = time_fields(at_us if known.last_trade_us is None else min(known.last_trade_us, at_us))
            timestamp, timestamp_us = time_fields(at_us)
            gap = Gap(timestamp, known.symbol, received, timestamp_us, "trade", since or None, since_us)
            yield checked("gap", gap, received)

    def _trade(self, known: _Instrument, record: Record, at_us: int, received: int | None) -> Parsed:
        if record.side not in _SIDE:
            raise Refused(Reason.WRONG_TYPE, f"side {record.side!r:.20} is none of A, B and N")
        if record.price is None:
            raise Refused(Reason.MISSING_FIELD, "the price of a trade is undefined")
        timestamp, timestamp_us = time_fields(at_us)
        side, size = _SIDE[record.side], float(record.size)
        message = Trade(timestamp, known.symbol, record.price, size, side, received=received, timestamp_us=timestamp_us)
        check_trade(message)
        known.last_trade_us = at_us
        return checked("trade", message, received)

    def _give_waiting(self, known: _Instrument) -> Iterator[Parsed]:
        assert known.waits is not None  # noqa: S101 - the callers looked
        (record, at_us, received), known.waits = known.waits, None
        if known.is_bad or record.levels is None:
            return
        yield from known.books.give(*record.levels, at_us, received)

    def _of_orders(self, known: _Instrument, record: Record, at_us: int, received: int | None) -> Iterator[Parsed]:
        orders = known.orders
        if record.action == "R":
            if not known.is_bad:
                orders.clear()
                known.changed = True
        elif record.action not in ("T", "F", "N"):
            if orders.book is None:
                self._context.passed_over[BEFORE_SNAPSHOT] += 1
                return
            try:
                _apply(orders, record)
            except Refused:
                yield from known.lose_orders()
                raise
            known.changed = True
        book = orders.book
        if record.flags & LAST and known.changed and book is not None:
            known.changed = False
            bids, asks = book.best(MAX_LEVELS)
            depth = None if book.crossed or record.flags & TOP_OF_BOOK else book.depth(known.contract)
            yield from known.books.give(bids, asks, at_us, received, depth)


def _apply(orders: Orders, record: Record) -> None:
    if record.action not in ("A", "M", "C"):
        raise Refused(Reason.WRONG_TYPE, f"action {record.action!r:.20}")
    if record.side not in (BID, ASK):
        raise Refused(Reason.WRONG_TYPE, f"an order of side {record.side!r:.20}")
    if record.flags & TOP_OF_BOOK:
        if record.action == "A":
            orders.quote(record.side, record.price, record.size)
            return
        raise Refused(Reason.WRONG_TYPE, f"action {record.action} of a venue that gives only its best level")
    if record.action == "C":
        orders.cancel(record.order_id, record.size)
        return
    if record.price is None:
        raise Refused(Reason.MISSING_FIELD, "the price of an order is undefined")
    check_number("price", record.price)
    check_number("size", float(record.size))
    order = Order(record.side, record.price, record.size)
    (orders.add if record.action == "A" else orders.modify)(record.order_id, order)
