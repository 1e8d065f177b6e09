"""Raw Binance websocket messages as messages of this project, for captures and for the live feed.

A line is ``<receive time, ns> <one JSON message>``. Books are made from depth diffs and REST snapshots by the venue's rule. A snapshot
that names no ``symbol`` belongs to the symbol of its file; of several to the one with a diff that spans its ``lastUpdateId`` L, and if
several have one, it is refused as ambiguous. It is used if that symbol has no book or has a gap::

    held back:  [U..u] [U..u] | U <= L + 1 <= u | U == previous u + 1 | ...
                covered by L    first applied     (futures: pu == previous u)

A diff that does not follow waits for a snapshot or for the missing diff; one that never fits is refused. A diff is applied whole or
not at all: a damaged one leaves the book as it was, and the next diff then shows the gap.

A book is known as far as its snapshot went (``book``). It gives the known levels, 20 a side at most, and the depths over all of them;
once the price has passed all that is known of a side, it is unknown. A later snapshot makes it known further (``renewal``).

A line ``{"e":"disconnect","s":[symbols]}``, which our own recorder writes, says that the connection was lost there. These books are
unknown from one millisecond after their newest event until a snapshot, or until a diff shows that nothing was missed.

Trades come one by one (``@trade``) or as aggregates (``@aggTrade``), whose ``f`` and ``l`` are the ids of the first and last trade in
them. No trade counts twice: an aggregate of trades that are recorded one by one is passed over, and so is a trade that an aggregate
counted already. Trades that were not made in the order book (insurance fund, auto-deleveraging) are passed over too.

Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#how-to-manage-a-local-order-book-correctly
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping

from ingest.messages.check import check_header, check_trade, is_symbol
from ingest.messages.decode import decode
from ingest.messages.kinds import MAX_TIME_MS, Gap, Trade
from ingest.messages.refusal import Reason, Refused
from ingest.recordings import binance_wire as wire
from ingest.recordings.binance_state import SymbolState
from ingest.recordings.book import Book
from ingest.recordings.lines import Line, Output, Parsed, Rejected
from ingest.recordings.lookahead import Runs, is_market_trade
from ingest.recordings.markets import FUTURES, SPOT, kind_of_trade, same_market
from transforms.instrument import Instrument, known

HELD_MAX = 5000  # diffs of a symbol that may wait: minutes of a feed, while a snapshot takes seconds
SNAPSHOTS_MAX = 64  # that may wait for the diff that tells their symbol
UPDATES_MAX = 10_000_000  # in one diff; more is a damaged number, and would make all diffs after it look like repeats
SYMBOLS_MAX = 10_000


class Binance:
    """Parser of one capture or of several merged ones. It keeps the books.

    ``OrderBook.sequence`` starts at the first book's event time in milliseconds and grows by one. So a later capture starts above an
    earlier one, and the same capture always gives the same numbers.

    Parameters
    ----------
    max_future_ms : int
        How far a message may be stamped ahead of its receive time.
    trades : mapping
        By symbol the ids of the trades that the whole recording has one by one, where that is known before.
    instrument : callable
        Returns what is known of a symbol: its contract tells the depths.

    Attributes
    ----------
    passed_over : Counter of str
        Valid lines that gave no message, by what they are: quotes, snapshots, diffs that a snapshot covers, aggregates of other trades.
    """

    def __init__(
        self,
        max_future_ms: int,
        trades: Mapping[str, Runs] | None = None,
        instrument: Callable[[str], Instrument] = known,
    ) -> None:
        self.passed_over: Counter[str] = Counter()
        self._max_future_ms = max_future_ms
        self._trades = trades or {}
        self._instrument = instrument
        self._symbols: dict[str, SymbolState] = {}
        self._snapshots: deque[wire.Snapshot] = deque(maxlen=SNAPSHOTS_MAX)

    @property
    def ignored(self) -> int:
        """The number of valid lines that gave no message."""
        return self.passed_over.total()

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

    def fading(self) -> list[str]:
        """Return the symbols whose price nears the end of the known book. A live feed asks for a new snapshot, at its own pace."""
        return [name for name, state in self._symbols.items() if state.renewal.due]

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
            self._mark_price(decode(wire.MarkPrice, body), line)
        elif name == "disconnect":
            yield from self._disconnect(decode(wire.Disconnect, body), line)
        elif name == "recording":
            self._begin(decode(wire.Header, body), line)
        elif (
            name or envelope.ask_size or envelope.id
        ):  # another stream, a quote (it has no type), or the answer to a subscription
            self.passed_over[wire.name_of_other(name)] += 1
        else:
            raise Refused(Reason.MISSING_FIELD, "neither stream nor event type")

    def _begin(self, header: wire.Header, line: Line) -> None:
        self.passed_over["header"] += 1
        if header.prefix and not is_symbol(header.prefix):
            raise Refused(Reason.BAD_SYMBOL, repr(header.prefix[:64]))
        if line.file is not None and not line.file.is_given:
            line.file.prefix = header.prefix

    def _trade(self, stream: str, trade: wire.Trade, line: Line) -> Iterator[Output]:
        trade.symbol = line.prefix + trade.symbol
        if not is_market_trade(trade.type):
            self.passed_over["trade outside the book"] += 1
            return
        check_header(trade.symbol, trade.time, line.received_ms, self._max_future_ms)
        wire.check_ids(trade.id)
        side = "sell" if trade.maker_bought else "buy"
        message = Trade(trade.time, trade.symbol, trade.price, trade.size, side, trade.id, line.received_ms)
        check_trade(message)
        state = self._symbol(trade.symbol)
        has_type = trade.type is not None or (isinstance(trade, wire.AggTrade) and bool(trade.normal_size))
        state.market = same_market(state.market, kind_of_trade(has_ignored=bool(trade.ignored), has_type=has_type))
        state.newest = max(state.newest, trade.time)
        message.next_funding = state.next_funding
        if state.trades.is_repeated(trade, self._trades.get(trade.symbol)):
            self.passed_over[stream] += 1
        else:
            yield Parsed("trade", message)

    def _mark_price(self, mark: wire.MarkPrice, line: Line) -> None:
        self.passed_over["mark price"] += 1
        name = line.prefix + mark.symbol
        if name in self._symbols and 0 < mark.next_funding <= MAX_TIME_MS:
            self._symbols[name].next_funding = mark.next_funding

    def _snapshot(self, payload: bytes, line: Line) -> Iterator[Output]:
        snapshot = decode(wire.Snapshot, payload)
        wire.check_ids(snapshot.last)
        for side in (snapshot.bids, snapshot.asks):
            wire.check_levels(side, snapshot=True)
        if not (snapshot.bids or snapshot.asks):
            raise Refused(Reason.EMPTY_BOOK, "a snapshot without levels")
        if Book(snapshot.bids, snapshot.asks).crossed:
            raise Refused(Reason.CROSSED_BOOK, "a crossed snapshot")
        self._name(snapshot, line)
        self.passed_over["snapshot"] += 1
        self._snapshots.append(snapshot)
        for name, state in self._symbols.items():
            past = state.last is not None and (not state.lost or snapshot.last <= state.last)
            if past and snapshot.is_of(name) and state.renew(snapshot):
                self._snapshots.remove(snapshot)
                return
            if not past and snapshot.is_of(name) and any(diff.spans(snapshot.last) for diff, _ in state.held):
                self._start(state, snapshot)
                yield from self._settle(state, line)
                return

    def _name(self, snapshot: wire.Snapshot, line: Line) -> None:
        """Set the symbol of a snapshot, with the prefix of its file; refuse one that may belong to several symbols.

        Without a file, as in tests, one that fits no symbol yet stays without a name, and the first diff that spans it takes it.
        """
        if line.file is None:
            waiting = self._symbols.items() if snapshot.symbol is None else ()
            fits = frozenset(
                name for name, state in waiting if any(diff.spans(snapshot.last) for diff, _ in state.held)
            )
        elif snapshot.symbol is None:
            fits = line.file.owners.get(snapshot.last, line.file.symbols)
        else:
            fits = frozenset([line.prefix + snapshot.symbol])
        if len(fits) > 1:
            some = ", ".join(sorted(fits)[:5])
            raise Refused(Reason.AMBIGUOUS, f"a snapshot at update {snapshot.last} that names no symbol fits {some}")
        if fits:
            snapshot.symbol = next(iter(fits))

    def _diff(self, diff: wire.Diff, line: Line) -> Iterator[Output]:
        diff.symbol = line.prefix + diff.symbol
        check_header(diff.symbol, diff.time, line.received_ms, self._max_future_ms)
        wire.check_ids(diff.first, diff.last, diff.before or 0)
        if not 0 <= diff.last - diff.first < UPDATES_MAX:
            raise Refused(Reason.OUT_OF_RANGE, f"updates {diff.first} to {diff.last}")
        for side in (diff.bids, diff.asks):
            wire.check_levels(side)
        state = self._symbol(diff.symbol)
        state.market = same_market(state.market, SPOT if diff.before is None else FUTURES)
        state.newest = max(state.newest, diff.time)
        if state.last is not None and diff.last <= state.last:
            raise Refused(Reason.DUPLICATE, f"update {diff.last} is applied already, the book is at {state.last}")
        if state.can_apply(diff):
            yield from self._apply(state, diff, line, line)
            yield from self._settle(state, line)
            return
        state.held.append((diff, line))
        if state.last is not None and not state.lost:
            state.lost = True
            yield Parsed("gap", state.gap(diff, line))
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
        self.passed_over["disconnect"] += 1
        for name in (line.prefix + symbol for symbol in disconnect.symbols):
            state = self._symbols.get(name)
            if state is not None and state.last is not None and not state.lost:
                state.lost = True
                # a millisecond later, or the gap would sort before the last book: equal times are ordered by sequence
                yield Parsed("gap", Gap(state.newest + 1, name, line.received_ms))

    def _symbol(self, name: str) -> SymbolState:
        state = self._symbols.get(name)
        if state is None:
            if len(self._symbols) >= SYMBOLS_MAX:
                raise Refused(Reason.UNKNOWN_SYMBOL, f"{SYMBOLS_MAX} symbols are open")
            state = self._symbols[name] = SymbolState(self._instrument(name))
        return state

    def _start(self, state: SymbolState, snapshot: wire.Snapshot) -> None:
        self._snapshots.remove(snapshot)
        if n_covered := state.start(snapshot):
            self.passed_over["diff before the snapshot"] += n_covered

    def _settle(self, state: SymbolState, now: Line) -> Iterator[Output]:
        """Apply the waiting diffs that follow now, and refuse those that the book has passed."""
        if not state.held:
            return
        waiting = sorted(state.held, key=lambda held: held[0].first)
        state.held.clear()
        for diff, line in waiting:
            assert state.last is not None  # noqa: S101 - only a symbol with a book settles
            if diff.last <= state.last:
                yield _gap(line)
            elif state.can_apply(diff):
                yield from self._apply(state, diff, line, now)
            else:
                state.held.append((diff, line))

    def _apply(self, state: SymbolState, diff: wire.Diff, line: Line, now: Line) -> Iterator[Output]:
        """Apply a diff that follows. Its book counts as received with ``now``, the line that made the diff fit."""
        if not state.book.apply(diff.bids, diff.asks):
            yield Rejected(line, Reason.CROSSED_BOOK, f"update {diff.last} would cross the book")
            return
        state.last, state.fresh, state.lost = diff.last, False, False
        state.renewal.note(state.book, diff)
        for snapshot in [s for s in self._snapshots if s.is_of(diff.symbol) and diff.spans(s.last)]:
            if state.renew(snapshot):
                self._snapshots.remove(snapshot)
        if state.book.passed:
            if state.passed:
                self.passed_over["diff past the known book"] += 1
            else:
                state.passed = True
                yield Parsed("gap", state.gap(diff, now))
            return
        state.passed = False
        yield Parsed("book", state.next_book(diff, now))


def _gap(line: Line) -> Rejected:
    return Rejected(line, Reason.SEQUENCE_GAP, "a diff before it is missing, and no snapshot bridges that")
