"""Which trades of a symbol are missing, by the ids of those that were heard. For venues whose ids are consecutive."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from ingest.messages.kinds import Trade, time_us

HOLES_MAX = 1000  # that are remembered of a symbol, so that damaged ids cannot fill the memory


class Heard(Enum):
    """What the id of a trade says of the trades before it."""

    FOLLOWS = "no trade before it is missing"
    JUMPS = "trades before it are missing"
    FILLS = "it was missing"
    REPEATS = "it was heard before"
    ANEW = "the venue counts from a lower id again"


@dataclass(slots=True)
class Hole:
    """Missing ids, ``first`` to ``last``, and the trades before and after them."""

    first: int
    last: int
    before: Trade
    after: Trade
    is_told: bool = False  # nobody waits for them
    passed_over: int = 0  # in how many answers of the venue they were left out

    @property
    def missing(self) -> int:
        """How many trades are missing."""
        return self.last - self.first + 1


@dataclass(slots=True)
class TradeIds:
    """Ids of the trades of one symbol.

    >>> trades = [Trade(1000 + i, "A", 1.0, 1.0, trade_id=i) for i in range(9)]
    >>> ids = TradeIds()
    >>> [ids.note(i, trades[i]).name for i in (1, 2, 6, 4, 4, 3)]
    ['FOLLOWS', 'FOLLOWS', 'JUMPS', 'FILLS', 'REPEATS', 'FILLS']
    >>> [(hole.first, hole.last) for hole in ids.holes], ids.next
    ([(5, 5)], 7)
    """

    next: int | None = None  # the id after the highest one; None before the first trade
    newest: Trade | None = None  # the trade of the highest id
    holes: list[Hole] = field(default_factory=list)  # in the order of their ids

    def note(self, number: int, trade: Trade) -> Heard:
        """Note that a trade was heard; return what its id says."""
        newest = self.newest
        if self.next is None or newest is None or number == self.next:
            self.next, self.newest = number + 1, trade
            return Heard.FOLLOWS
        if number > self.next:
            self.holes.append(Hole(self.next, number - 1, newest, trade))
            del self.holes[:-HOLES_MAX]
            self.next, self.newest = number + 1, trade
            return Heard.JUMPS
        if self.fill(number, trade):
            return Heard.FILLS
        if time_us(trade) > time_us(newest):  # ids grow with time, so these are other ids
            self.next, self.newest = number + 1, trade
            return Heard.ANEW
        return Heard.REPEATS

    def begin_anew(self) -> None:
        """Forget the ids: the next trade is one of another series."""
        self.next = None
        self.holes.clear()

    def unknown(self) -> list[Hole]:
        """Return the holes that are waited for."""
        return [hole for hole in self.holes if not hole.is_told]

    def next_hole(self) -> Hole | None:
        """Return the hole to ask for: the first of those that answers left out least often."""
        return min(self.unknown(), key=lambda hole: hole.passed_over, default=None)

    def pass_over(self, number: int) -> None:
        """Note that an answer reached the trade ``number``: the venue does not have what is missing before, or not yet."""
        for hole in self.holes:
            hole.passed_over += hole.last < number

    def fill(self, number: int, trade: Trade) -> bool:
        """Note a trade that came late; return whether it was missing. Its time must fit between its neighbours."""
        for i, hole in enumerate(self.holes):
            if hole.first <= number <= hole.last and time_us(hole.before) <= time_us(trade) <= time_us(hole.after):
                parts = [
                    Hole(hole.first, number - 1, hole.before, trade, hole.is_told),
                    Hole(number + 1, hole.last, trade, hole.after, hole.is_told),
                ]
                self.holes[i : i + 1] = [part for part in parts if part.missing]
                return True
        return False
