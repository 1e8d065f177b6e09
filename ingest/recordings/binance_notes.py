"""Notes of our own feed among the lines of a capture: what the parser must know, so that a recording gives what the feed gave.

::

    {"e":"feed","s":[symbols],...}                  it starts; with the last trades that the feed before it had written
    {"e":"connections","s":[symbols],"n":2}         so many are open: what several say is one message (``binance_books``)
    {"e":"disconnect","s":[symbols]}                no connection is open; told again as long as it lasts
    {"e":"silence","s":[symbols],"channel":"book"}  a channel is silent while others of its symbol speak; told again as long as it lasts
    {"e":"recovered","s":symbol,...}                an answer of the venue, with trades that were asked for
    {"e":"unrecovered","s":[symbols]}               missing trades are not asked for any more
    {"e":"stopped","s":[symbols]}                   the feed ends

Notes of connections are of the ``channels`` that they name, or of all; liquidations are heard where a note names their channel. After a
disconnect or a silence of the channel ``book``, these books are unknown from right after their newest event until a snapshot, or until a
diff shows that nothing was missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping

from ingest.messages.check import is_symbol
from ingest.messages.decode import decode
from ingest.messages.kinds import BOOK_CHANNEL, LIQUIDATION_CHANNEL, TRADE_CHANNEL, Gap, Trade, time_fields
from ingest.messages.refusal import Reason, Refused
from ingest.recordings import binance_wire as wire
from ingest.recordings.binance_answers import read_answer
from ingest.recordings.binance_books import Books
from ingest.recordings.binance_state import SymbolState
from ingest.recordings.followed_trades import Rule
from ingest.recordings.lines import Line, Output, Parsed
from ingest.recordings.whole_trades import WholeTrades

TOLD_MS = 23 * 3_600_000
"""For so long a feed that is away tells afterwards that the books are unknown since then, for a replay; the worker has noted it. A live gap
that is a day old would be refused."""


class Notes:
    """Applies notes to the symbols of a parser.

    ``open_symbol`` returns the state of a symbol, a new one if it has none.
    """

    def __init__(
        self,
        symbols: MutableMapping[str, SymbolState],
        books: Books,
        whole: WholeTrades,
        open_symbol: Callable[[str], SymbolState],
        max_future_ms: int,
    ) -> None:
        self._symbols = symbols
        self._books = books
        self._whole = whole
        self._open = open_symbol
        self._max_future_ms = max_future_ms

    def take(self, name: str, body: bytes, line: Line) -> Iterator[Output]:
        """Apply a note; yield what it gives."""
        if name == "recording":
            self._take_header(decode(wire.Header, body), line)
        elif name == "feed":
            yield from self._start(decode(wire.Start, body), line)
        elif name == "recovered":
            yield from self._answer(decode(wire.Answer, body), line)
        elif name in ("connections", "disconnect"):
            connections = decode(wire.Connections, body)
            if connections.n > 1:
                for symbol in connections.symbols:
                    self._open(_checked(line.prefix + symbol))
            for state, symbol in self._named(connections.symbols, line):
                yield from self._connect(connections, symbol, state, line)
        elif name == "silence":
            silence = decode(wire.Silence, body)
            for state, symbol in self._named(silence.symbols, line):
                state.silent.add(silence.channel)
                if silence.channel == BOOK_CHANNEL:
                    yield from self._lose_book(state, symbol, line)
                elif silence.channel == TRADE_CHANNEL:
                    yield from self._whole.mute(symbol, state.followed, line)
        else:
            for _, symbol in self._named(decode(wire.Symbols, body).symbols, line):
                yield from self._give_up(symbol, line) if name == "unrecovered" else self._stop(symbol, line)

    def _named(self, symbols: list[str], line: Line) -> Iterator[tuple[SymbolState, str]]:
        """Yield those of these symbols that are known."""
        for name in (line.prefix + symbol for symbol in symbols):
            if (state := self._symbols.get(name)) is not None:
                yield state, name

    def _take_header(self, header: wire.Header, line: Line) -> None:
        if header.prefix and not is_symbol(header.prefix):
            raise Refused(Reason.BAD_SYMBOL, repr(header.prefix[:64]))
        if line.file is not None and not line.file.is_given:
            line.file.prefix = header.prefix

    def _start(self, start: wire.Start, line: Line) -> Iterator[Output]:
        """Let the symbols of a feed begin: it knows nothing of the books, and of the trades what one before it wrote."""
        for symbol in start.symbols:
            name = _checked(line.prefix + symbol)
            if name in self._symbols and self._symbols[name].followed.source not in ("", line.source):
                continue  # another recorder of the same market goes on
            self._whole.drop(name)
            self._books.forget(name)
            self._symbols.pop(name, None)
            followed = self._open(name).followed
            followed.rule, followed.source = Rule(start.hold_ms, start.lateness_ms, is_live=True), line.source
            last = start.last.get(symbol)
            if last is None:
                continue
            followed.given_us = max(last.given_us, last.time_us)
            is_late = line.received_ms - last.written_ms > start.hold_ms
            if not is_late or line.received_ms - followed.given_us // 1000 < TOLD_MS:
                yield _book_gap(name, followed.given_us + 1, line)
            if last.id is None:
                continue
            ms, us = time_fields(last.time_us)
            newest = Trade(ms, name, last.price, last.size, trade_id=last.id, timestamp_us=us)
            yield from self._whole.start(name, followed, newest, is_late=is_late, line=line)

    def _connect(self, connections: wire.Connections, name: str, state: SymbolState, line: Line) -> Iterator[Output]:
        n = max(connections.n, 0)
        if connections.carry(BOOK_CHANNEL):
            state.connections, state.is_merged = max(n, 1), state.is_merged or n > 1
            if not n:
                state.ids_may_restart = True
                yield from self._lose_book(state, name, line)
        if connections.carry(TRADE_CHANNEL):
            followed = state.followed
            yield from self._whole.connect(name, line) if n else self._whole.lose(name, followed, line)
        if LIQUIDATION_CHANNEL in (connections.channels or ()):
            state.begins_liquidations |= n > 0 and not state.hears_liquidations
            state.hears_liquidations = n > 0

    def _lose_book(self, state: SymbolState, name: str, line: Line) -> Iterator[Output]:
        if state.last is not None and not state.lost:
            state.lost = True
            # right after it, or the gap would sort before the last book: equal times are ordered by sequence
            yield _book_gap(name, state.after_newest_us, line)

    def _give_up(self, name: str, line: Line) -> Iterator[Output]:
        if name in self._whole.held:
            yield from self._whole.give_up(name, line)

    def _stop(self, name: str, line: Line) -> Iterator[Output]:
        """Forget what is held back: it is not written, and the next feed asks for the trades again. Its books are lost."""
        held = self._whole.drop(name)
        if held is not None and any(output.kind == "book" for output in held.outputs):
            yield _book_gap(name, held.given_us + 1, line)

    def _answer(self, answer: wire.Answer, line: Line) -> Iterator[Output]:
        name = answer.symbol = line.prefix + answer.symbol
        state = self._symbols.get(name)
        if state is not None and name in self._whole.held:
            trades = read_answer(answer, state.followed.ids, line, self._max_future_ms)
            is_end = answer.is_end and len(trades) == 1  # the known one alone
            yield from self._whole.answer(name, state.followed, trades[1:], is_end=is_end, line=line)


def _checked(name: str) -> str:
    if not is_symbol(name):
        raise Refused(Reason.BAD_SYMBOL, repr(name[:64]))
    return name


def _book_gap(name: str, t_us: int, line: Line) -> Parsed:
    ms, us = time_fields(t_us)
    return Parsed("gap", Gap(ms, name, line.received_ms, us))
