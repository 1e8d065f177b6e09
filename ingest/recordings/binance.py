"""Raw Binance websocket messages, ``<receive time, ns> <one JSON message>`` a line, as messages: of captures and of the live feed.

Books are made from depth diffs and REST snapshots by the venue's rule. A snapshot that names no ``symbol`` belongs to the symbol
of which a diff spans its ``lastUpdateId`` L; it is taken where that symbol has no book or has lost its place::

    held back:  [U..u] [U..u] | U <= L + 1 <= u | U == previous u + 1 | ...
                covered by L    first applied     (futures: pu == previous u)

Diffs that do not follow wait for a snapshot, or for the diff that is missing; those that never fit are refused.
A diff is applied whole or not at all: a damaged one leaves the book as it was, and the next then shows the gap.
A line ``{"e":"disconnect","s":[symbols]}``, which our own recorder writes, says that the connection was lost there: these books are
unknown from one millisecond after the newest event until a snapshot, or a diff that shows that nothing was missed.
Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#how-to-manage-a-local-order-book-correctly
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from ingest.messages.check import check_header, check_trade
from ingest.messages.decode import decode
from ingest.messages.kinds import LEVELS, MAX_NUMBER, MAX_TIME_MS, Gap, OrderBook, Trade
from ingest.messages.refusal import Reason, Refused
from ingest.recordings import binance_wire as wire
from ingest.recordings.book import Book, Level
from ingest.recordings.lines import Line, Output, Parsed, Rejected

HELD = 5000
"""Diffs of a symbol that wait at most: minutes of a feed, where a snapshot takes seconds."""
SNAPSHOTS = 64
"""Snapshots that wait at most for the diff that tells their symbol."""
SPAN = 10_000_000
"""Updates in one diff at most; more is a damaged number, and would make repeats of all that follows."""
SYMBOLS = 10_000
_LARGEST = 2**63
_ABSENT = msgspec.Raw()
_BARE = re.compile(rb"[\[:,]\s*-?(?:NaN|Infinity)\s*[\],}]")
"""What Python's JSON writes for numbers that JSON has not."""


class _Envelope(msgspec.Struct):
    """A line of a combined stream (stream and data), of a single one (e), or a REST answer (lastUpdateId)."""

    stream: str | None = None
    data: msgspec.Raw = _ABSENT
    e: str | None = None
    last_update_id: int | None = msgspec.field(name="lastUpdateId", default=None)
    ask_size: msgspec.Raw = msgspec.field(name="A", default=_ABSENT)
    id: msgspec.Raw = _ABSENT


@dataclass(slots=True)
class _Symbol:
    """The book of one symbol, good as of update ``last``, and the diffs that wait.

    ``fresh``: it is a snapshot, nothing is applied yet. ``lost``: the gap after ``last`` has been told.
    ``newest``: the newest event time of its diffs and trades. ``next_funding``: as its trades shall say.
    """

    book: Book = field(default_factory=Book)
    last: int | None = None
    fresh: bool = False
    lost: bool = False
    held: deque[tuple[wire.Diff, Line]] = field(default_factory=deque)
    sequence: int = 0
    trades: str = ""
    newest: int = 0
    next_funding: int | None = None


class Binance:
    """Parser of one capture or of several merged; it keeps the books.

    ``OrderBook.sequence`` starts at the first book's event time in milliseconds and grows by one: a capture that is
    played later begins above the one before it, and the same capture always gives the same numbers.

    Parameters
    ----------
    max_future_ms:
        How far a message may be stamped ahead of its receive time.

    Attributes
    ----------
    ignored:
        Lines that are sound and give no message: quotes, snapshots, diffs that a snapshot covers.
    """

    def __init__(self, max_future_ms: int) -> None:
        self.ignored = 0
        self._max_future_ms = max_future_ms
        self._symbols: dict[str, _Symbol] = {}
        self._snapshots: deque[wire.Snapshot] = deque(maxlen=SNAPSHOTS)

    def parse(self, line: Line) -> Iterator[Output]:
        """What a line gives: messages, and refusals of it or of lines that waited."""
        payload = line.data.partition(b" ")[2]
        try:
            if not payload.isascii():
                _check_text(payload)
            yield from self._parse(line, payload)
        except Refused as refused:
            yield Rejected(line, refused.reason, refused.detail)

    def finish(self) -> Iterator[Rejected]:
        """Refuse the diffs that still wait: the recording ends."""
        for state in self._symbols.values():
            for _, line in state.held:
                yield _gap(line)
            state.held.clear()

    def missing(self) -> list[str]:
        """Symbols whose diffs wait for a snapshot; a live feed asks for it."""
        return [name for name, state in self._symbols.items() if state.held and (state.last is None or state.lost)]

    def _parse(self, line: Line, payload: bytes) -> Iterator[Output]:
        envelope = _open(payload)
        if envelope.last_update_id is not None:
            yield from self._snapshot(payload, line)
            return
        body = bytes(envelope.data) or payload
        name = envelope.e if envelope.stream is None else envelope.stream.partition("@")[2]
        if envelope.stream is not None and not envelope.data:
            raise Refused(Reason.MISSING_FIELD, "a stream without data")
        if name in ("depth", "depthUpdate") or (name and name.startswith("depth@")):
            yield from self._diff(decode(wire.Diff, body), line)
        elif name in ("trade", "aggTrade"):
            yield from self._trade(name, decode(wire.AggTrade if name == "aggTrade" else wire.Trade, body), line)
        elif name == "markPriceUpdate" or (name and name.split("@")[0] == "markPrice"):
            self._mark_price(decode(wire.MarkPrice, body))
        elif name == "disconnect":
            yield from self._disconnect(decode(wire.Disconnect, body), line)
        elif name or envelope.ask_size or envelope.id:
            self.ignored += 1  # another stream, a quote (which has no type), the answer to a subscription
        else:
            raise Refused(Reason.MISSING_FIELD, "neither stream nor event type")

    def _trade(self, stream: str, trade: wire.Trade, line: Line) -> Iterator[Output]:
        check_header(trade.symbol, trade.time, line.received_ms, self._max_future_ms)
        _check_ids(trade.id)
        side = "sell" if trade.maker_bought else "buy"
        message = Trade(trade.time, trade.symbol, trade.price, trade.size, side, trade.id, line.received_ms)
        check_trade(message)
        state = self._symbol(trade.symbol)
        state.newest = max(state.newest, trade.time)
        message.next_funding = state.next_funding
        state.trades = state.trades or stream
        if state.trades != stream:
            self.ignored += 1  # both streams were recorded: they tell of the same trades
        else:
            yield Parsed("trade", message)

    def _mark_price(self, mark: wire.MarkPrice) -> None:
        self.ignored += 1
        if mark.symbol in self._symbols and 0 < mark.next_funding <= MAX_TIME_MS:
            self._symbols[mark.symbol].next_funding = mark.next_funding

    def _snapshot(self, payload: bytes, line: Line) -> Iterator[Output]:
        snapshot = decode(wire.Snapshot, payload)
        _check_ids(snapshot.last)
        for side in (snapshot.bids, snapshot.asks):
            _check_levels(side, snapshot=True)
        if not (snapshot.bids or snapshot.asks):
            raise Refused(Reason.EMPTY_BOOK, "a snapshot without levels")
        if Book(snapshot.bids, snapshot.asks).crossed:
            raise Refused(Reason.CROSSED_BOOK, "a crossed snapshot")
        self.ignored += 1
        self._snapshots.append(snapshot)
        for name, state in self._symbols.items():
            past = state.last is not None and (not state.lost or snapshot.last <= state.last)
            if not past and snapshot.is_of(name) and any(diff.spans(snapshot.last) for diff, _ in state.held):
                self._start(state, snapshot)
                yield from self._settle(state, line)
                return

    def _diff(self, diff: wire.Diff, line: Line) -> Iterator[Output]:
        check_header(diff.symbol, diff.time, line.received_ms, self._max_future_ms)
        _check_ids(diff.first, diff.last, diff.before or 0)
        if not 0 <= diff.last - diff.first < SPAN:
            raise Refused(Reason.OUT_OF_RANGE, f"updates {diff.first} to {diff.last}")
        for side in (diff.bids, diff.asks):
            _check_levels(side)
        state = self._symbol(diff.symbol)
        state.newest = max(state.newest, diff.time)
        if state.last is not None and diff.last <= state.last:
            raise Refused(Reason.DUPLICATE, f"update {diff.last} is applied already, the book is at {state.last}")
        if state.last is not None and (diff.follows(state.last) or (state.fresh and diff.spans(state.last))):
            yield from self._apply(state, diff, line, line)
            yield from self._settle(state, line)
            return
        state.held.append((diff, line))
        if state.last is not None and not state.lost:
            state.lost = True
            yield Parsed("gap", Gap(diff.time, diff.symbol, line.received_ms))
        for snapshot in self._snapshots:
            if (
                snapshot.is_of(diff.symbol)
                and diff.spans(snapshot.last)
                and (state.last is None or snapshot.last > state.last)
            ):
                self._start(state, snapshot)
                yield from self._settle(state, line)
                return
        if len(state.held) > HELD:
            yield _gap(state.held.popleft()[1])

    def _disconnect(self, disconnect: wire.Disconnect, line: Line) -> Iterator[Output]:
        self.ignored += 1
        for name in disconnect.symbols:
            state = self._symbols.get(name)
            if state is not None and state.last is not None and not state.lost:
                state.lost = True
                # a millisecond on, or it would stand before the book that was last: ties of books and gaps go by sequence
                yield Parsed("gap", Gap(state.newest + 1, name, line.received_ms))

    def _symbol(self, name: str) -> _Symbol:
        state = self._symbols.get(name)
        if state is None:
            if len(self._symbols) >= SYMBOLS:
                raise Refused(Reason.UNKNOWN_SYMBOL, f"{SYMBOLS} symbols are open")
            state = self._symbols[name] = _Symbol()
        return state

    def _start(self, state: _Symbol, snapshot: wire.Snapshot) -> None:
        """Take the book from a snapshot. Before the first one, the diffs it covers were waiting only for it."""
        self._snapshots.remove(snapshot)
        if state.last is None:
            uncovered = [(diff, line) for diff, line in state.held if diff.last > snapshot.last]
            self.ignored += len(state.held) - len(uncovered)
            state.held = deque(uncovered)
        state.book = Book(snapshot.bids, snapshot.asks)
        state.last = snapshot.last
        state.fresh = True

    def _settle(self, state: _Symbol, now: Line) -> Iterator[Output]:
        """Apply what waits and now follows, refuse what waits and has been passed."""
        if not state.held:
            return
        waiting = sorted(state.held, key=lambda held: held[0].first)
        state.held.clear()
        for diff, line in waiting:
            assert state.last is not None  # noqa: S101 - only a symbol with a book settles
            if diff.last <= state.last:
                yield _gap(line)
            elif diff.follows(state.last) or (state.fresh and diff.spans(state.last)):
                yield from self._apply(state, diff, line, now)
            else:
                state.held.append((diff, line))

    def _apply(self, state: _Symbol, diff: wire.Diff, line: Line, now: Line) -> Iterator[Output]:
        """Apply a diff that follows; its book is known from the receive time of ``now``, the line that made it fit."""
        if not state.book.apply(diff.bids, diff.asks):
            yield Rejected(line, Reason.CROSSED_BOOK, f"update {diff.last} would cross the book")
            return
        state.last, state.fresh, state.lost = diff.last, False, False
        state.sequence = state.sequence + 1 if state.sequence else diff.time
        bids, asks = state.book.best(LEVELS)
        yield Parsed("book", OrderBook(diff.time, diff.symbol, bids, asks, state.sequence, now.received_ms))


def _gap(line: Line) -> Rejected:
    return Rejected(line, Reason.SEQUENCE_GAP, "a diff before it is missing, and no snapshot bridges that")


def _open(payload: bytes) -> _Envelope:
    try:
        return decode(_Envelope, payload)
    except Refused:
        if _BARE.search(payload):
            raise Refused(Reason.NOT_FINITE, "a bare NaN or Infinity") from None
        raise


def _check_text(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise Refused(Reason.UNDECODABLE, str(error)) from None


def _check_ids(*ids: int) -> None:
    for number in ids:
        if not 0 <= number < _LARGEST:
            raise Refused(Reason.OUT_OF_RANGE, f"id {number!s:.40}")


def _check_levels(levels: Sequence[Level], *, snapshot: bool = False) -> None:
    """Refuse a price that is not positive and a size that is negative (in a snapshot: not positive), or past all markets."""
    for price, size in levels:
        if 0.0 < price <= MAX_NUMBER and (0.0 < size <= MAX_NUMBER or (size == 0.0 and not snapshot)):
            continue
        detail = f"price {price}, size {size}"
        if not (math.isfinite(price) and math.isfinite(size)):
            raise Refused(Reason.NOT_FINITE, detail)
        raise Refused(Reason.NOT_POSITIVE if price <= 0.0 or size <= 0.0 else Reason.OUT_OF_RANGE, detail)
