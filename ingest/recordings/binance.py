"""Raw Binance websocket messages as messages of this project, for captures and for the live feed.

A line is ``<receive time, ns> <one JSON message>``. Books are made from depth diffs and REST snapshots (``binance_books``).

Trades come one by one (``@trade``) or as aggregates (``@aggTrade``), whose ``f`` and ``l`` are the ids of the first and last trade in
them. No trade counts twice: an aggregate of trades that are recorded one by one is passed over, and so is a trade that an aggregate
counted already. Trades that were not made in the order book (insurance fund, auto-deleveraging) are passed over too. Where ids
say that trades are missing, the messages behind them wait (``whole_trades``). What futures say of contracts is read by
``binance_contracts``. Notes of our own feed, such as a lost connection, are lines too (``binance_notes``).

Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from ingest.messages.check import check_header, check_trade
from ingest.messages.decode import decode
from ingest.messages.kinds import (
    BOOK_CHANNEL,
    TRADE_CHANNEL,
    Clock,
    Trade,
    time_fields,
    time_us,
)
from ingest.messages.refusal import Reason, Refused
from ingest.recordings import binance_contract_wire as contract
from ingest.recordings import binance_wire as wire
from ingest.recordings.binance_all_symbols import events_of
from ingest.recordings.binance_books import Books
from ingest.recordings.binance_contracts import Contracts
from ingest.recordings.binance_notes import Notes
from ingest.recordings.binance_state import SymbolState
from ingest.recordings.followed_trades import Followed, Rule, Wanted
from ingest.recordings.lines import Line, Output, Parsed, Rejected
from ingest.recordings.lookahead import Runs, is_market_trade
from ingest.recordings.markets import FUTURES, SPOT, kind_of_trade, same_market
from ingest.recordings.venue_clock import Pace, VenueClock
from ingest.recordings.whole_trades import MERGE_MS, WholeTrades
from transforms.instrument import Instrument, known

UPDATES_MAX = 10_000_000  # in one diff; more is a damaged number, and would make all diffs after it look like repeats
SYMBOLS_MAX = 10_000
UNMISSED_MAX = 1000


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
    passed_over : Counter of str, optional
        Gets the counts of valid lines that gave no message, by what they are: quotes, snapshots, diffs that a snapshot covers, aggregates
        of other trades.
    pace : Pace, optional
        When rows are due. With it the symbols of a connection, or of a file, share a clock (``venue_clock``).
    shared : collection of str
        Symbols that several files have: where one lacks trades, another may have them.

    Attributes
    ----------
    unmissed : deque of (str, str)
        Symbol and channel of the silences in which nothing was missed, by their ids. The live feed takes them from here.
    """

    def __init__(
        self,
        max_future_ms: int,
        trades: Mapping[str, Runs] | None = None,
        instrument: Callable[[str], Instrument] = known,
        passed_over: Counter[str] | None = None,
        pace: Pace | None = None,
        shared: Collection[str] = (),
    ) -> None:
        self.passed_over: Counter[str] = Counter() if passed_over is None else passed_over
        self.unmissed: deque[tuple[str, str]] = deque(maxlen=UNMISSED_MAX)
        self._max_future_ms = max_future_ms
        self._trades = trades or {}
        self._instrument = instrument
        self._symbols: dict[str, SymbolState] = {}
        self._followed: dict[str, Followed] = {}
        self._shared = shared
        self._books = Books(self._symbols, self.passed_over)
        self._pace = pace
        self._clocks: dict[int, VenueClock] = {}
        self._heard: tuple[str, int] | None = None  # the channel and the event time of the line, microseconds
        self._whole = WholeTrades(self._followed, self.passed_over)
        self._contracts = Contracts(self._symbol, self.passed_over, max_future_ms)
        self._notes = Notes(self._symbols, self._books, self._whole, self._symbol, max_future_ms)

    @property
    def ignored(self) -> int:
        """The number of valid lines that gave no message."""
        return self.passed_over.total()

    def parse(self, line: Line) -> Iterator[Output]:
        """Yield the messages of a line, or of lines that were held back, and refusals of it or of lines that waited."""
        clock = self._clock(line)
        self._heard = None
        whole = self._whole
        if whole.held:
            for name in whole.overdue(line):
                yield from self._checked(whole.give_up(name, line), clock, line)
        for event in events_of(line.data.partition(b" ")[2]):
            try:
                for output in self._parse_event(line, event):
                    if (whole.held or whole.closing) and isinstance(output, Parsed) and whole.holds(output):
                        yield from self._checked(whole.pass_on(output, line), clock, line)
                    else:
                        yield output if clock is None else clock.check(output, line)
            except Refused as refused:
                yield Rejected(line, refused.reason, refused.detail)
        if clock is not None and self._heard is not None and (told := clock.hear(*self._heard, line)):
            yield self._pass_time(told)

    def _checked(self, outputs: Iterable[Output], clock: VenueClock | None, line: Line) -> Iterator[Output]:
        for output in outputs:
            yield output if clock is None else clock.check(output, line)

    def _clock(self, line: Line) -> VenueClock | None:
        if self._pace is None:
            return None
        clock = self._clocks.get(id(line.file))
        if clock is None:
            clock = self._clocks[id(line.file)] = VenueClock(self._pace, self._is_whole)
        return clock

    def _is_whole(self, name: str) -> bool:
        """Return whether no message of a symbol is held back, and no trades may be missing since its last message."""
        state, whole = self._symbols.get(name), self._whole
        if state is None or state.held or state.followed.is_told:
            return False
        return name not in whole.held and name not in whole.closing

    def finish(self) -> Iterator[Output]:
        """Give what is held back at the end of a recording, and refuse the diffs that still wait."""
        yield from self._whole.finish()
        yield from self._books.finish()

    def wanted(self) -> list[Wanted]:
        """Return the missing trades that a live feed asks the venue for."""
        return self._whole.wanted()

    def missing(self) -> list[str]:
        """Return the symbols whose diffs wait for a snapshot. A live feed asks the venue for it."""
        return [name for name, state in self._symbols.items() if state.held and (state.last is None or state.lost)]

    def fading(self) -> list[str]:
        """Return the symbols whose price nears the end of the known book. A live feed asks for a new snapshot, at its own pace."""
        return [name for name, state in self._symbols.items() if state.renewal.due]

    def _parse_event(self, line: Line, payload: bytes) -> Iterator[Output]:
        envelope = wire.open_envelope(payload)
        if envelope.last_update_id is not None:
            yield from self._books.snapshot(payload, line)
            return
        body = bytes(envelope.data) or payload
        name = envelope.e if envelope.stream is None else envelope.stream.partition("@")[2] or envelope.stream
        if envelope.stream is not None and not envelope.data:
            raise Refused(Reason.MISSING_FIELD, "a stream without data")
        if name in ("depth", "depthUpdate") or (name and name.startswith("depth@")):
            yield from self._diff(decode(wire.Diff, body), line)
        elif name in ("trade", "aggTrade"):
            yield from self._trade(name, decode(wire.AggTrade if name == "aggTrade" else wire.Trade, body), line)
        elif name == "markPriceUpdate" or (name and name.partition("@")[0] == "markPrice"):
            yield from self._mark_price(decode(contract.MarkPrice, body), line)
        elif name == "forceOrder":
            yield from self._contracts.liquidation(decode(contract.ForcedOrder, body), line)
        elif name in wire.NOTES:
            self.passed_over[wire.NOTES[name]] += 1
            if name == "feed" and (clock := self._clock(line)) is not None:
                clock.begin()
            yield from self._notes.take(name, body, line)
            if name == "feed" and clock is not None:
                for symbol, state in self._symbols.items():
                    if state.followed.source == line.source and state.followed.given_us:
                        clock.go_on(symbol, state.followed.given_us)
        elif name == "alive":
            yield from self._answer(decode(wire.Alive, body), line)
        elif envelope.open_interest:
            yield from self._contracts.interest(decode(contract.OpenInterest, body), line)
        elif name or envelope.ask_size or envelope.id:
            # another stream, a quote (it has no type), or the answer to a subscription
            self.passed_over[wire.name_of_other(name)] += 1
        else:
            raise Refused(Reason.MISSING_FIELD, "neither stream nor event type")

    def _trade(self, stream: str, trade: wire.Trade, line: Line) -> Iterator[Output]:
        trade.symbol = line.prefix + trade.symbol
        if not is_market_trade(trade.type):
            self.passed_over["trade outside the book"] += 1
            return
        t_us = trade.time_us
        check_header(trade.symbol, t_us, line.received_ms, self._max_future_ms)
        wire.check_ids(trade.id)
        side = "sell" if trade.maker_bought else "buy"
        ms, us = time_fields(t_us)
        message = Trade(ms, trade.symbol, trade.price, trade.size, side, trade.id, line.received_ms, None, us)
        check_trade(message)
        state = self._symbol(trade.symbol)
        has_type = trade.type is not None or (isinstance(trade, wire.AggTrade) and bool(trade.normal_size))
        state.market = same_market(state.market, kind_of_trade(has_ignored=bool(trade.ignored), has_type=has_type))
        state.after_newest_us = max(state.after_newest_us, trade.after_us)
        self._hear(state, "trade", t_us)
        if state.trades.is_repeated(trade, self._trades.get(trade.symbol)):
            self.passed_over[stream] += 1
            return
        if state.silent:
            self._end_silence(state, trade.symbol, TRADE_CHANNEL, is_next=trade.id == state.followed.ids.next)
        if state.form not in (None, stream):
            yield from self._whole.change_form(state.followed, message, state.missing_between(trade), line)
        state.form = stream
        followed, whole = state.followed, self._whole
        ids = followed.ids
        # the usual case first, in half the time
        if trade.id == ids.next and not whole.held and not whole.closing and not followed.is_told:
            ids.next, ids.newest = trade.id + 1, message
            followed.give(t_us)
            yield Parsed("trade", message)
        elif stream == "trade" and state.market == FUTURES:  # their ids leave some out
            ids.newest = message
            followed.give(t_us)
            yield Parsed("trade", message)
        else:
            yield from whole.trade(followed, message, trade.id, line)

    def _mark_price(self, mark: contract.MarkPrice, line: Line) -> Iterator[Output]:
        yield from self._contracts.mark(mark, line)
        self._hear(self._symbols[line.prefix + mark.symbol], "trade", mark.time_us)

    def _diff(self, diff: wire.Diff, line: Line) -> Iterator[Output]:
        diff.symbol = line.prefix + diff.symbol
        check_header(diff.symbol, diff.time_us, line.received_ms, self._max_future_ms)
        wire.check_ids(diff.first, diff.last, diff.before or 0)
        if not 0 <= diff.last - diff.first < UPDATES_MAX:
            raise Refused(Reason.OUT_OF_RANGE, f"updates {diff.first} to {diff.last}")
        for side in (diff.bids, diff.asks):
            wire.check_levels(side)
        state = self._symbol(diff.symbol)
        state.market = same_market(state.market, SPOT if diff.before is None else FUTURES)
        state.after_newest_us = max(state.after_newest_us, diff.after_us)
        self._hear(state, "book", diff.time_us)
        if state.silent:
            self._end_silence(state, diff.symbol, BOOK_CHANNEL, is_next=state.can_apply(diff))
        yield from self._books.diff(state, diff, line)

    def _answer(self, alive: wire.Alive, line: Line) -> Iterator[Output]:
        self.passed_over["alive"] += 1
        clock = self._clock(line)
        if clock is not None and (told := clock.answer(alive.channels, wire.time_us(alive.at), line)):
            yield self._pass_time(told)

    def _pass_time(self, told: Clock) -> Parsed:
        for name in told.symbols:
            self._followed[name].give(time_us(told))
        return Parsed("clock", told)

    def _hear(self, state: SymbolState, channel: str, t_us: int) -> None:
        """Note the event time of a line for the clock. Futures have a connection a channel; a line of an unknown market tells nothing."""
        if state.market is not None:
            self._heard = "" if state.market == SPOT else channel, t_us

    def _end_silence(self, state: SymbolState, name: str, channel: str, *, is_next: bool) -> None:
        if channel in state.silent:
            state.silent.remove(channel)
            if is_next:
                self.unmissed.append((name, channel))

    def _symbol(self, name: str) -> SymbolState:
        state = self._symbols.get(name)
        if state is None:
            if len(self._symbols) >= SYMBOLS_MAX:
                raise Refused(Reason.UNKNOWN_SYMBOL, f"{SYMBOLS_MAX} symbols are open")
            state = self._symbols[name] = SymbolState(self._instrument(name))
            self._followed[name] = state.followed
            if name in self._shared:
                state.followed.rule = Rule(MERGE_MS)
        return state
