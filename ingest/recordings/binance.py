"""Raw Binance websocket messages as messages of this project, for captures and for the live feed.

A line is ``<receive time, ns> <one JSON message>``. Books are made from depth diffs and REST snapshots by the venue's rule. A snapshot
that names no ``symbol`` belongs to the symbol with a diff that spans its ``lastUpdateId`` L. It is used if that symbol has no book or
has a gap::

    held back:  [U..u] [U..u] | U <= L + 1 <= u | U == previous u + 1 | ...
                covered by L    first applied     (futures: pu == previous u)

A diff that does not follow waits for a snapshot or for the missing diff; one that never fits is refused. A diff is applied whole or
not at all: a damaged one leaves the book as it was, and the next diff then shows the gap.

A line ``{"e":"disconnect","s":[symbols]}``, which our own recorder writes, says that the connection was lost there. These books are
unknown from one millisecond after their newest event until a snapshot, or until a diff shows that nothing was missed.

Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#how-to-manage-a-local-order-book-correctly
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ingest.messages.check import check_header, check_trade
from ingest.messages.decode import decode
from ingest.messages.kinds import MAX_TIME_MS, Gap, OrderBook, Trade
from ingest.messages.refusal import Reason, Refused
from ingest.recordings import binance_wire as wire
from ingest.recordings.book import Book
from ingest.recordings.lines import Line, Output, Parsed, Rejected
from transforms.limits import MAX_LEVELS

HELD_MAX = 5000  # diffs of a symbol that may wait: minutes of a feed, while a snapshot takes seconds
SNAPSHOTS_MAX = 64  # that may wait for the diff that tells their symbol
UPDATES_MAX = 10_000_000  # in one diff; more is a damaged number, and would make all diffs after it look like repeats
SYMBOLS_MAX = 10_000


@dataclass(slots=True)
class _Symbol:
    """The book of one symbol and the diffs that wait."""

    book: Book = field(default_factory=Book)
    last: int | None = None  # the update up to which the book is known; None before the first snapshot
    fresh: bool = False  # the book is a snapshot to which no diff was applied yet
    lost: bool = False  # a gap after ``last`` was reported
    held: deque[tuple[wire.Diff, Line]] = field(default_factory=deque)  # diffs that wait, each with its line
    sequence: int = 0
    trades: str = ""  # the stream that its trades are taken from
    newest: int = 0  # newest event time of its diffs and trades
    next_funding: int | None = None


class Binance:
    """Parser of one capture or of several merged ones. It keeps the books.

    ``OrderBook.sequence`` starts at the first book's event time in milliseconds and grows by one. So a later capture starts above an
    earlier one, and the same capture always gives the same numbers.

    Parameters
    ----------
    max_future_ms : int
        How far a message may be stamped ahead of its receive time.

    Attributes
    ----------
    ignored : int
        Valid lines that gave no message: quotes, snapshots, diffs that a snapshot covers.
    """

    def __init__(self, max_future_ms: int) -> None:
        self.ignored = 0  # valid lines that gave no message: quotes, snapshots, diffs that a snapshot covers
        self._max_future_ms = max_future_ms
        self._symbols: dict[str, _Symbol] = {}
        self._snapshots: deque[wire.Snapshot] = deque(maxlen=SNAPSHOTS_MAX)

    def parse(self, line: Line) -> Iterator[Output]:
        """Yield the messages of a line, and refusals of it or of lines that waited."""
        payload = line.data.partition(b" ")[2]
        try:
            yield from self._parse_payload(line, payload)
        except Refused as refused:
            yield Rejected(line, refused.reason, refused.detail)

    def finish(self) -> Iterator[Rejected]:
        """Refuse the diffs that still wait at the end of a recording."""
        for state in self._symbols.values():
            for _, line in state.held:
                yield _gap(line)
            state.held.clear()

    def missing(self) -> list[str]:
        """Return the symbols whose diffs wait for a snapshot. A live feed asks the venue for it."""
        return [name for name, state in self._symbols.items() if state.held and (state.last is None or state.lost)]

    def _parse_payload(self, line: Line, payload: bytes) -> Iterator[Output]:
        envelope = wire.open_envelope(payload)
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
            self.ignored += 1  # another stream, a quote (it has no type), or the answer to a subscription
        else:
            raise Refused(Reason.MISSING_FIELD, "neither stream nor event type")

    def _trade(self, stream: str, trade: wire.Trade, line: Line) -> Iterator[Output]:
        check_header(trade.symbol, trade.time, line.received_ms, self._max_future_ms)
        wire.check_ids(trade.id)
        side = "sell" if trade.maker_bought else "buy"
        message = Trade(trade.time, trade.symbol, trade.price, trade.size, side, trade.id, line.received_ms)
        check_trade(message)
        state = self._symbol(trade.symbol)
        state.newest = max(state.newest, trade.time)
        message.next_funding = state.next_funding
        state.trades = state.trades or stream
        if state.trades != stream:
            self.ignored += 1  # the capture holds both streams, which report the same trades
        else:
            yield Parsed("trade", message)

    def _mark_price(self, mark: wire.MarkPrice) -> None:
        self.ignored += 1
        if mark.symbol in self._symbols and 0 < mark.next_funding <= MAX_TIME_MS:
            self._symbols[mark.symbol].next_funding = mark.next_funding

    def _snapshot(self, payload: bytes, line: Line) -> Iterator[Output]:
        snapshot = decode(wire.Snapshot, payload)
        wire.check_ids(snapshot.last)
        for side in (snapshot.bids, snapshot.asks):
            wire.check_levels(side, snapshot=True)
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
        wire.check_ids(diff.first, diff.last, diff.before or 0)
        if not 0 <= diff.last - diff.first < UPDATES_MAX:
            raise Refused(Reason.OUT_OF_RANGE, f"updates {diff.first} to {diff.last}")
        for side in (diff.bids, diff.asks):
            wire.check_levels(side)
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
        if len(state.held) > HELD_MAX:
            yield _gap(state.held.popleft()[1])

    def _disconnect(self, disconnect: wire.Disconnect, line: Line) -> Iterator[Output]:
        self.ignored += 1
        for name in disconnect.symbols:
            state = self._symbols.get(name)
            if state is not None and state.last is not None and not state.lost:
                state.lost = True
                # a millisecond later, or the gap would sort before the last book: equal times are ordered by sequence
                yield Parsed("gap", Gap(state.newest + 1, name, line.received_ms))

    def _symbol(self, name: str) -> _Symbol:
        state = self._symbols.get(name)
        if state is None:
            if len(self._symbols) >= SYMBOLS_MAX:
                raise Refused(Reason.UNKNOWN_SYMBOL, f"{SYMBOLS_MAX} symbols are open")
            state = self._symbols[name] = _Symbol()
        return state

    def _start(self, state: _Symbol, snapshot: wire.Snapshot) -> None:
        """Start the book from a snapshot. Before the first snapshot, the diffs that it covers are ignored and not refused."""
        self._snapshots.remove(snapshot)
        if state.last is None:
            uncovered = [(diff, line) for diff, line in state.held if diff.last > snapshot.last]
            self.ignored += len(state.held) - len(uncovered)
            state.held = deque(uncovered)
        state.book = Book(snapshot.bids, snapshot.asks)
        state.last = snapshot.last
        state.fresh = True

    def _settle(self, state: _Symbol, now: Line) -> Iterator[Output]:
        """Apply the waiting diffs that follow now, and refuse those that the book has passed."""
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
        """Apply a diff that follows. Its book counts as received with ``now``, the line that made the diff fit."""
        if not state.book.apply(diff.bids, diff.asks):
            yield Rejected(line, Reason.CROSSED_BOOK, f"update {diff.last} would cross the book")
            return
        state.last, state.fresh, state.lost = diff.last, False, False
        state.sequence = state.sequence + 1 if state.sequence else diff.time
        bids, asks = state.book.best(MAX_LEVELS)
        yield Parsed("book", OrderBook(diff.time, diff.symbol, bids, asks, state.sequence, now.received_ms))


def _gap(line: Line) -> Rejected:
    return Rejected(line, Reason.SEQUENCE_GAP, "a diff before it is missing, and no snapshot bridges that")
