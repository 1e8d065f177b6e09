"""Runs of one symbol over its messages, or over a part of them. Rows and messages are handed on and not kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from typing import Any, NamedTuple

import msgspec

from ingest.check.recording import Arrival
from ingest.messages.envelope import Envelope, Origin
from ingest.messages.kinds import BOOK_CHANNEL, Tick, since_us, time_fields, time_us
from ingest.messages.refusal import Reason, Refused
from ingest.settings import Settings
from ingest.worker.symbol import Symbol
from ingest.worker.symbols import Make, Symbols
from transforms.catalog import View
from transforms.kernel import HOUR_US, Vector, to_bytes
from transforms.microstructure.layout import IMBALANCE_BINS, SPREAD_BINS

Rows = dict[int, dict[str, bytes]]
"""Rows as bytes, by time (µs) and name of the view."""
_TICK = 0.01
_G = [(row - IMBALANCE_BINS // 2) / (2.0 + column) for row in range(IMBALANCE_BINS) for column in range(SPREAD_BINS)]
"""A stand-in table for ``microprice``, which is null without one; each cell but the balanced ones has a number of its own."""


class Accepted(NamedTuple):
    """A message that its symbol accepted, and the time (µs) from which it counts."""

    t_us: int
    kind: str
    message: Any


NEVER_US = 2**63
POSTS = frozenset({"post", "withdrawal"})
OF_CONTRACT = frozenset({"derivatives", "liquidation"})


class Run:
    """One symbol over some messages; ``make`` makes the symbol, and a test passes a faulty one."""

    def __init__(self, name: str, settings: Settings, make: Make = Symbol) -> None:
        self._rows: Rows = {}
        self._waiting: list[tuple[int, int, str, Any]] = []
        self._accepted = 0
        self._newest_us: dict[bool, int] = {}  # newest time of a post (True), and of all else (False)
        self._symbols = Symbols(settings, self._keep_row, _raise_our_errors, make=make)
        self.symbol = self._symbols.open(name)
        self.symbol.engine.install_microprice(1, _TICK, _G)
        self._grid_us = settings.emit_us

    def _keep_row(self, symbol: Symbol, view: View, t_us: int, values: Vector) -> None:
        self._rows.setdefault(t_us, {})[view.name] = to_bytes(values)

    def accept(self, kind: str, message: Any) -> None:
        """Give the symbol a message; one that is refused (late, repeated) is not among those that ``released`` returns."""
        t_us, watermark = time_us(message), self.symbol.timeline.watermark
        if kind == "neighbour":
            context = self.symbol.engine.context
            first_us = context.undecided_us() if context else 0  # the first row that can use it
            if self.symbol.hear_neighbour(Envelope(kind, message)):
                self._wait(max(t_us, first_us), kind, message)
            return
        if kind in POSTS:
            t_us = max(message.available * 1000 if kind == "post" else t_us, watermark)
        elif kind == "gap":
            t_us = max(t_us if message.channel == BOOK_CHANNEL else since_us(message), watermark)
        elif kind in OF_CONTRACT:
            t_us = max(t_us, watermark)
        envelope = Envelope(kind, message, received_ms=getattr(message, "received", None) or 0)
        if self._symbols.accept(envelope) is not None:
            self._wait(t_us, kind, message)
            of_posts = kind in POSTS
            self._newest_us[of_posts] = max(t_us, self._newest_us.get(of_posts, 0))

    def _wait(self, t_us: int, kind: str, message: Any) -> None:
        heappush(self._waiting, (t_us, self._accepted, kind, message))
        self._accepted += 1

    def known_us(self) -> int:
        """Return the time before which every message is known and every row given: none waits for a neighbour."""
        context = self.symbol.engine.context
        waiting_us = context.waiting_us() if context else 0
        return min(self.symbol.timeline.watermark, waiting_us or NEVER_US)

    def accept_again(self, one: Accepted) -> None:
        """Give the symbol a message that another run accepted and has released, so that it counts from the same time.

        A hole would count from where it begins, and what came behind the watermark from its own time. So time passes first to where it
        counted: all messages before have come.
        """
        if one.kind == "gap" or (one.kind in OF_CONTRACT and time_us(one.message) < one.t_us):
            self.tick(one.t_us - 1)
        self.accept(one.kind, one.message)

    def tick(self, t_us: int) -> None:
        """Let time pass to ``t_us``."""
        ms, us = time_fields(t_us)
        self.symbol.accept(Envelope("tick", Tick(ms, self.symbol.name, us)))

    def last_ticks(self) -> Iterator[int]:
        """Yield times to let pass at the end: to the boundary after the newest book or trade (or post, if there are only posts)."""
        last_us = self._newest_us.get(False) or self._newest_us.get(True, 0)
        end_us = -(-last_us // self._grid_us) * self._grid_us
        begin_us = self.symbol.timeline.watermark or (self._waiting[0][0] if self._waiting else end_us)
        yield from range(begin_us // 1000 * 1000, end_us, HOUR_US)
        yield end_us

    def take_rows(self) -> Rows:
        """Return the rows since the last call, up to the first time that waits for a neighbour."""
        known_us = self.known_us()
        rows = {t_us: row for t_us, row in self._rows.items() if t_us < known_us}
        self._rows = {t_us: row for t_us, row in self._rows.items() if t_us >= known_us}
        return rows

    def released(self) -> list[Accepted]:
        """Return the messages that ``known_us`` has passed since the last call, in the order of the times from which they count.

        No message before them can come any more. A post or a withdrawal gets this time as its own, so that it counts from the same time
        whatever messages are around it.
        """
        out = []
        known_us = self.known_us()
        while self._waiting and self._waiting[0][0] < known_us:
            t_us, _, kind, message = heappop(self._waiting)
            if kind in POSTS:
                ms = -(-t_us // 1000)  # the first millisecond at which it counts: so much a score can say
                times = {"available": ms} if kind == "post" else {"timestamp": ms, "timestamp_us": None}
                message = msgspec.structs.replace(message, **times)
            out.append(Accepted(t_us, kind, message))
        return out


def run_whole(
    messages: Iterable[Arrival], settings: Settings, make: Make, step: Callable[[str, Run], None]
) -> dict[str, Run]:
    """Run each symbol over its messages, as a worker processes them; call ``step`` after each message, to take what came of it."""
    runs: dict[str, Run] = {}
    for kind, message in messages:
        name = message.symbol
        run = runs.get(name)
        if run is None:
            run = runs[name] = Run(name, settings, make)
        run.accept(kind, message)
        step(name, run)
    for name, run in runs.items():
        for t_us in run.last_ticks():
            run.tick(t_us)
            step(name, run)
    return runs


def _raise_our_errors(entry: Origin, refused: Refused) -> None:
    """Raise an error of our own code. A message that is refused for its content is refused in every run alike."""
    if refused.reason is Reason.FAILED:
        raise refused
