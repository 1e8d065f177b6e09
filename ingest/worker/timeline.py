"""Event time of one symbol: holds its messages until they are in order, and says when a boundary of the grid has passed.

The watermark W is the newest event time of the symbol's books and trades less the allowed lateness. Everything before W is known::

    ---- released, in order ----|W ---- held ----|newest book or trade
      row t once W > t                             t_message < W is late

Ties are broken by kind (book, trade, post, table), then sequence, then arrival. A tick moves W without a message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

RANK = {"book": 0, "gap": 0, "trade": 1, "post": 2, "microprice": 3}
"""Books come before trades of the same time: the trade met that book."""
_TABLE = RANK["microprice"]

Held = tuple[int, int, int, int, Any]
"""Event time in microseconds, rank, sequence, arrival, whatever was held."""


@dataclass(slots=True)
class Timeline:
    """Order and grid of one symbol. Times are microseconds.

    Attributes
    ----------
    emit_us:
        The grid interval.
    lateness_us:
        How far behind the newest book or trade a message may come.
    watermark:
        Every event before it is known; 0 before the first book, trade or tick.
    boundary:
        The next boundary of the grid that will give rows; 0 before the first event.
    """

    emit_us: int
    lateness_us: int
    watermark: int = 0
    boundary: int = 0
    arrivals: int = 0
    held: list[Held] = field(default_factory=list)

    def is_late(self, t_us: int) -> bool:
        """Whether rows that an event of ``t_us`` belongs to may be written already."""
        return t_us < self.watermark

    def hold(self, t_us: int, kind: str, sequence: int, item: Any) -> None:
        """Take an event that is not late; books and trades carry the watermark along."""
        rank = RANK[kind]
        heappush(self.held, (t_us, rank, sequence, self.arrivals, item))
        self.arrivals += 1
        if rank < 2 and t_us - self.lateness_us > self.watermark:
            self.watermark = t_us - self.lateness_us

    def waits(self) -> bool:
        """Whether a message is held that time should hand over. A table is not one: it waits for rows, none wait for it."""
        return any(rank != _TABLE for _, rank, *_ in self.held)

    def tables(self) -> int:
        """How many microprice tables are held."""
        return sum(rank == _TABLE for _, rank, *_ in self.held)

    def tick(self, t_us: int) -> None:
        """All events up to and with ``t_us`` are known."""
        self.watermark = max(self.watermark, t_us + 1)

    def advance(
        self,
        apply: Callable[[int, Any], None],
        emit: Callable[[int], None],
        speaks_until: Callable[[], int],
    ) -> None:
        """Hand over in order what the watermark has passed: events to ``apply``, boundaries to ``emit``.

        A row at t comes after every event with time <= t. Boundaries at which no feed would speak are passed over at once,
        so that years of silence cost nothing; ``speaks_until`` says when that is.
        """
        while self.held and self.held[0][0] < self.watermark:
            t_us, _, _, _, item = heappop(self.held)
            self._emit_before(t_us, emit, speaks_until)
            apply(t_us, item)
        if self.boundary:
            self._emit_before(self.watermark, emit, speaks_until)

    def _emit_before(self, end_us: int, emit: Callable[[int], None], speaks_until: Callable[[], int]) -> None:
        first = -(-end_us // self.emit_us) * self.emit_us
        if self.boundary and self.boundary < first:
            last = min(first - self.emit_us, speaks_until())
            for t_us in range(self.boundary, last + 1, self.emit_us):
                emit(t_us)
        self.boundary = max(self.boundary, first)
