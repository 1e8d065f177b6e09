"""Event time of one symbol: holds its messages until they are in order, and says when a grid boundary has passed.

The watermark W is the newest event time of the symbol's books and trades, less the allowed lateness. Everything before W is known::

    ---- released, in order ----|W ---- held ----|newest book or trade
      row t once W > t                             t_message < W is late

Messages of the same time are ordered by kind (``RANK``), then sequence, then arrival. A tick moves W without a message.
A hole in the trades stands where it begins, before the trades of that time, or at W where that is later: so it is never late.
What venues tell of derivatives moves W no more than a post does: it comes by other ways than the market, and may be ahead of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from ingest.messages.envelope import Envelope, from_entry

RANK = {
    "book": 0,
    "gap": 0,
    "trade": 1,
    "post": 2,
    "withdrawal": 3,
    "microprice": 4,
    "derivatives": 5,
    "liquidation": 6,
}
"""Books come before trades of the same time: the trade met that book."""
_TRADE, _POST, _TABLE = RANK["trade"], RANK["post"], RANK["microprice"]
_OF_NO_MARKET = frozenset(RANK[kind] for kind in ("post", "withdrawal", "microprice"))

Held = tuple[int, int, int, int, Envelope]
"""Event time in microseconds, rank, sequence, arrival, message; no two messages share an arrival."""


@dataclass(slots=True)
class Timeline:
    """Order and grid of one symbol. Times are microseconds."""

    emit_us: int  # the grid interval
    lateness_us: int  # how far behind the newest book or trade a message may come
    watermark: int = 0  # every event before it is known; 0 before the first book, trade or tick
    boundary: int = 0  # the next grid boundary that gives rows; 0 before the first event
    arrivals: int = 0  # how many messages were held so far
    held: list[Held] = field(default_factory=list)  # a heap of the messages that wait for their turn
    ticked: int = 0  # the watermark of the last tick

    def is_late(self, t_us: int) -> bool:
        """Return whether rows that an event of ``t_us`` belongs to may be written already."""
        return t_us < self.watermark

    def hold(self, t_us: int, kind: str, sequence: int, envelope: Envelope) -> None:
        """Hold an event that is not late; books and trades move the watermark."""
        rank = RANK[kind]
        heappush(self.held, (t_us, rank, sequence, self.arrivals, envelope))
        self.arrivals += 1
        if rank < _POST and t_us - self.lateness_us > self.watermark:
            self.watermark = t_us - self.lateness_us

    def heard_us(self) -> int:
        """Return the newest time that a book, a trade or a clock told; a tick since then makes it later."""
        return self.watermark + self.lateness_us

    def newest_trade_us(self) -> int:
        """Return the time of the newest trade that is held, 0 where none is."""
        return max((t_us for t_us, rank, *_ in self.held if rank == _TRADE), default=0)

    def last_us(self) -> int:
        """Return the time of the newest message of the market; of a symbol that has posts alone that of the newest post."""
        market = [t_us for t_us, rank, *_ in self.held if rank not in _OF_NO_MARKET]
        if market or self.watermark:
            return max(market, default=self.watermark - 1)
        return max((t_us for t_us, *_ in self.held), default=0)

    def holds_market(self) -> bool:
        """Return whether a book, a gap or a trade is held."""
        return any(rank < _POST for _, rank, *_ in self.held)

    def waits(self) -> bool:
        """Return whether a held message needs time to pass. A table does not: it waits for rows, and no row waits for it."""
        return any(rank != _TABLE for _, rank, *_ in self.held)

    def tables(self) -> int:
        """Return how many microprice tables are held."""
        return sum(rank == _TABLE for _, rank, *_ in self.held)

    def tick(self, t_us: int) -> None:
        """Note that all events up to and with ``t_us`` are known."""
        self.watermark = self.ticked = max(self.watermark, t_us + 1)

    def settled_us(self) -> int:
        """Return the time before which no row waits for a neighbour: an allowed lateness behind the watermark, or where a tick put that."""
        return max(self.watermark - self.lateness_us, self.ticked)

    def pass_to(self, t_us: int) -> None:
        """Move the watermark as a book or trade of ``t_us`` would."""
        self.watermark = max(self.watermark, t_us - self.lateness_us)

    def advance(
        self, apply: Callable[[int, Envelope], None], emit: Callable[[int], None], last_row_us: Callable[[], int]
    ) -> None:
        """Release in order what the watermark has passed: events to ``apply``, grid boundaries to ``emit``.

        A row at t comes after every event with time <= t. Boundaries after ``last_row_us()``, at which no feed has a row to give, are
        skipped at once, so that years of silence cost nothing.
        """
        while self.held and self.held[0][0] < self.watermark:
            t_us, _, _, _, envelope = heappop(self.held)
            self._emit_before(t_us, emit, last_row_us)
            apply(t_us, envelope)
        if self.boundary:
            self._emit_before(self.watermark, emit, last_row_us)

    def _emit_before(self, end_us: int, emit: Callable[[int], None], last_row_us: Callable[[], int]) -> None:
        first = -(-end_us // self.emit_us) * self.emit_us
        if self.boundary and self.boundary < first:
            for t_us in range(self.boundary, min(first, last_row_us() + 1), self.emit_us):
                emit(t_us)
        self.boundary = max(self.boundary, first)

    def save(self) -> list[Any]:
        """Return what ``restore`` needs; held messages are saved as the stream entries that they came from."""
        held = [(*order, *envelope.save()) for *order, envelope in self.held]
        return [self.watermark, self.boundary, self.arrivals, held]

    def restore(self, saved: Sequence[Any]) -> None:
        """Replace the state by one that ``save`` returned."""
        self.watermark, self.boundary, self.arrivals, held = saved
        self.held = [(*order, from_entry(entry_id, dict(fields))) for *order, entry_id, fields in held]
