"""Trades that are missing: the messages behind them are held back until they came, and what does not come is told as a gap.

::

    the venue   1 2 3  4 5 6 7  8 9          4 to 7 were lost with a connection
    heard       1 2 3         | 8 book 9     8 shows it: from there on the symbol is held back
    asked for                 4 5 6 7
    given       1 2 3 hold 4 5 6 7 8 book 9  or, where they did not come,  1 2 3 hold gap(4 to 7) 8 book 9

After a lost connection the hold begins at once, because the books of the next one may come before its first trade. It ends when the
first trade shows that nothing is missing, or the venue's answer does. All of this is driven by lines (frames, answers, and what the feed
notes itself), so a recording of the feed gives the same messages again. A recording of another recorder has nobody who asks: there a
hole is told at once, or where two files have the symbol, after `MERGE_MS` in which the other file may have the trades.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from ingest.messages.kinds import Hold, Trade, time_us
from ingest.recordings.followed_trades import Closing, Followed, Held, Wanted
from ingest.recordings.lines import Line, Output, Parsed
from ingest.recordings.trade_gaps import gap_of, in_order
from ingest.recordings.trade_ids import Heard

CHANNELS = ("book", "gap", "trade")  # kinds of messages whose order counts
HELD_MAX = 100_000  # messages of a symbol that are held back
AWAY_MAX_MS = 300_000  # without a connection; the trades of a longer time are not asked for
MERGE_MS = 2000  # by how much two recorders of a market may differ
CONFIRM_MS = 1000  # between two answers that a venue has no later trade: one that is behind answers so too
OVERDUE_MS = 5000  # after which a hold ends that its feed did not end


class WholeTrades:
    """Holds back and gives the messages of symbols.

    Attributes
    ----------
    held : dict
        The symbols that are held back.
    closing : dict
        The symbols with a hole of unknown content, which the next message ends.
    """

    def __init__(self, symbols: Mapping[str, Followed], passed_over: Counter[str]) -> None:
        self.held: dict[str, Held] = {}
        self.closing: dict[str, Closing] = {}
        self._symbols = symbols
        self._passed_over = passed_over

    def trade(self, followed: Followed, message: Trade, number: int, line: Line) -> Iterator[Output]:
        """Give a trade with the id ``number``, or hold it back because trades before it are missing; give none that repeats."""
        name, before = message.symbol, followed.ids.newest
        held = self.held.get(name)
        heard = followed.ids.note(number, message)
        self.closing.pop(name, None)  # the ids tell more
        if heard is Heard.REPEATS:
            self._passed_over["repeated trade"] += 1
        if held is not None:
            held.is_open, held.away_ms = False, 0  # a connection brought it, and will bring what follows
            if heard is Heard.ANEW:
                yield from self.give_up(name, line)
                yield from self._begin_anew(followed, before, message, line)
            elif heard is Heard.FILLS:
                held.recovered.append(message)
            elif heard is not Heard.REPEATS:
                held.outputs.append(Parsed("trade", message))
            if name in self.held:
                yield from self._settle(name, followed, held, line)
        elif heard is Heard.JUMPS and followed.rule.hold_ms and not followed.is_told:
            held = self._begin(name, followed, line)
            held.outputs.append(Parsed("trade", message))
            yield from self._say(name, followed, held, line)
        elif heard is Heard.ANEW:
            yield from self._begin_anew(followed, before, message, line)
        elif heard is not Heard.REPEATS:
            if heard is Heard.JUMPS:
                hole = followed.ids.holes[-1]
                hole.is_told = True
                yield gap_of(name, hole.before, time_us(message), hole.missing, line)
            followed.is_told = False
            yield Parsed("trade", message)
        followed.give(time_us(message))

    def change_form(self, followed: Followed, message: Trade, missing: int, line: Line) -> Iterator[Output]:
        """Count the ids from ``message`` on, which is the first in another form, and tell what is missing before it."""
        if message.symbol in self.held:
            yield from self.give_up(message.symbol, line)
        if missing > 0:
            yield gap_of(message.symbol, followed.ids.newest, time_us(message), missing, line)
        followed.ids.begin_anew()

    def holds(self, output: Parsed) -> bool:
        """Return whether a message must go through ``pass_on``."""
        name = output.message.symbol  # type: ignore[union-attr]  # no post
        return output.kind in CHANNELS and (name in self.held or name in self.closing)

    def pass_on(self, output: Parsed, line: Line) -> Iterator[Output]:
        """Give any other message of a symbol in ``held`` or ``closing``, or hold it back."""
        name = output.message.symbol  # type: ignore[union-attr]  # no post
        if (held := self.held.get(name)) is not None:
            held.outputs.append(output)
            if len(held.outputs) > HELD_MAX:
                yield from self.give_up(name, line)
            return
        closing = self.closing[name]
        if output.kind != "gap":
            yield gap_of(name, closing.before, time_us(output.message), None, line)
            if closing.is_back or output.kind == "trade":
                del self.closing[name]
        yield output

    def start(
        self, name: str, followed: Followed, newest: Trade | None, *, is_late: bool, line: Line
    ) -> Iterator[Output]:
        """A feed starts; ``newest`` is the last trade that one before it wrote. What that one held back, it did not write."""
        self.held.pop(name, None)
        self.closing.pop(name, None)
        if newest is not None and isinstance(newest.trade_id, int):
            followed.ids.note(newest.trade_id, newest)
            followed.is_told = is_late
            yield from self.lose(name, followed, line)

    def lose(self, name: str, followed: Followed, line: Line) -> Iterator[Output]:
        """Hold the time of a symbol whose connection is lost, or still is; or note a hole, where nobody asks for the trades."""
        held = self.held.get(name)
        if held is not None:
            held.is_open, held.away_ms = True, held.away_ms or line.received_ms
            if line.received_ms - held.away_ms <= AWAY_MAX_MS:
                yield from self._say(name, followed, held, line)
                return
            yield from self.give_up(name, line)
        elif followed.rule.is_live and followed.rule.hold_ms and followed.ids.next is not None and not followed.is_told:
            held = self._begin(name, followed, line)
            held.is_open, held.away_ms = True, line.received_ms
            yield from self._say(name, followed, held, line)
            return
        if followed.ids.newest is not None:
            followed.is_told = True
            self.closing.setdefault(name, Closing(followed.ids.newest, not followed.rule.is_live))

    def mute(self, name: str, followed: Followed, line: Line) -> Iterator[Output]:
        """Tell that trades may be missing up to the newest time of a symbol: their channel is silent, which a market need not be."""
        newest = followed.ids.newest
        if newest is not None and name not in self.held and followed.given_us > time_us(newest):
            followed.is_told = True
            yield gap_of(name, newest, followed.given_us, None, line)

    def connect(self, name: str, line: Line) -> Iterator[Output]:
        """The connection of a symbol is there again: from now on its trades can be asked for."""
        if name in self.closing:
            self.closing[name] = self.closing[name]._replace(is_back=True)
        held = self.held.get(name)
        if held is not None and held.away_ms:
            held.away_ms = 0
            yield from self._say(name, self._symbols[name], held, line)

    def answer(
        self, name: str, followed: Followed, trades: Sequence[Trade], *, is_end: bool, line: Line
    ) -> Iterator[Output]:
        """Take trades that were asked for, in the order of their ids; with ``is_end`` the venue says that it has no later ones."""
        held = self.held.get(name)
        if held is None:
            return
        ids = followed.ids
        for trade in trades:
            number = trade.trade_id
            assert isinstance(number, int)  # noqa: S101 - answers are checked
            if ids.fill(number, trade) or (held.is_open and number == ids.next and ids.note(number, trade)):
                held.recovered.append(trade)
                held.end_ms = 0
        if trades and isinstance(trades[-1].trade_id, int):
            ids.pass_over(trades[-1].trade_id)
        if is_end and not held.end_ms:
            held.end_ms = line.received_ms
        elif is_end and line.received_ms - held.end_ms >= CONFIRM_MS:
            held.is_open = False
        yield from self._settle(name, followed, held, line)

    def wanted(self) -> list[Wanted]:
        """Return the trades to ask for, of each symbol whose connection is there one hole."""
        found = []
        for name, held in self.held.items():
            followed = self._symbols[name]
            if not followed.rule.is_live or held.away_ms:
                continue
            hole = followed.ids.next_hole()
            if hole is not None:
                found.append(Wanted(name, hole.first, hole.last, held.until_ms))
            elif followed.ids.next is not None:
                found.append(Wanted(name, followed.ids.next, None, held.until_ms))
        return found

    def overdue(self, line: Line) -> list[str]:
        """Return the symbols that were held back for too long when a line came, though their feed did not say so."""
        now_ms = line.received_ms
        return [
            name
            for name, held in self.held.items()
            if now_ms > held.until_ms + OVERDUE_MS * self._symbols[name].rule.is_live
        ]

    def give_up(self, name: str, line: Line) -> Iterator[Output]:
        """Give what is held back of a symbol, and tell what is still missing."""
        held, followed = self.held[name], self._symbols[name]
        newest = followed.ids.newest
        gaps = []
        for hole in followed.ids.unknown():
            hole.is_told = True
            gaps.append((hole.before, gap_of(name, hole.before, time_us(hole.after), hole.missing, line)))
        if held.is_open and not held.end_ms and newest is not None:
            followed.is_told = True
            until_us = max((time_us(output.message) for output in held.outputs), default=0)
            gaps.append((newest, gap_of(name, newest, max(until_us, time_us(newest)), None, line)))
        yield from self._release(name, followed, held, gaps, line)

    def drop(self, name: str) -> Held | None:
        """Forget what is held back of a symbol: its feed ends, and the next one asks again for all behind the last trade given."""
        return self.held.pop(name, None)

    def finish(self) -> Iterator[Output]:
        """Give what is held back at the end of a recording. What a live feed held back then, it did not write."""
        for name, held in list(self.held.items()):
            if self._symbols[name].rule.is_live:
                self.drop(name)
            else:
                yield from self.give_up(name, held.line)

    def _begin_anew(self, followed: Followed, before: Trade | None, message: Trade, line: Line) -> Iterator[Output]:
        """Give the first trade of a venue that counts from a lower id again: what it left out nobody can tell."""
        followed.ids.holes.clear()
        followed.is_told = False
        yield gap_of(message.symbol, before, time_us(message), None, line)
        yield Parsed("trade", message)

    def _begin(self, name: str, followed: Followed, line: Line) -> Held:
        held = self.held[name] = Held(line, followed.given_us, line.received_ms + followed.rule.hold_ms)
        return held

    def _say(self, name: str, followed: Followed, held: Held, line: Line) -> Iterator[Output]:
        """Say that time is held, from now on as long as trades are waited for."""
        held.until_ms = line.received_ms + followed.rule.hold_ms
        if followed.rule.is_live:
            yield Parsed("hold", Hold(line.received_ms, name, held.until_ms, line.received_ms))

    def _settle(self, name: str, followed: Followed, held: Held, line: Line) -> Iterator[Output]:
        if not (held.is_open or held.away_ms or followed.ids.unknown()):
            yield from self._release(name, followed, held, [], line)
        elif len(held.outputs) > HELD_MAX:
            yield from self.give_up(name, line)

    def _release(
        self, name: str, followed: Followed, held: Held, gaps: list[tuple[Trade, Parsed]], line: Line
    ) -> Iterator[Output]:
        """Give what came and what was held back, by time; the worker would refuse trades that are behind what was given before."""
        del self.held[name]
        known_us = held.given_us - followed.rule.lateness_ms * 1000
        late = [trade for trade in held.recovered if time_us(trade) < known_us]
        if late:
            gaps.append((late[0], gap_of(name, late[0], time_us(late[-1]), len(late), line)))
        found = [(trade, Parsed("trade", trade)) for trade in held.recovered if time_us(trade) >= known_us]
        yield from in_order(held.outputs, gaps, found)
        if followed.rule.is_live:
            yield Parsed("hold", Hold(line.received_ms, name, line.received_ms, line.received_ms))
