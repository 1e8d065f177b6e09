"""Runs of one symbol over its messages, or over a part of them, with all rows kept."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from ingest.messages.envelope import Envelope, Origin
from ingest.messages.kinds import Tick
from ingest.messages.refusal import Reason, Refused
from ingest.settings import Settings
from ingest.worker.symbol import Symbol
from ingest.worker.symbols import Make, Symbols
from transforms.catalog import View
from transforms.kernel import Vector, to_bytes
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


POSTS = frozenset({"post", "withdrawal"})


class Run:
    """One symbol over some messages; ``make`` makes the symbol, and a test passes a faulty one.

    Attributes
    ----------
    rows : dict
        The rows that it emitted.
    accepted : list of Accepted
        The messages that it accepted, in the order of arrival.
    """

    def __init__(self, name: str, settings: Settings, make: Make = Symbol) -> None:
        self.rows: Rows = {}
        self.accepted: list[Accepted] = []
        self._symbols = Symbols(settings, self._keep_row, _raise_our_errors, make=make)
        self.symbol = self._symbols.open(name)
        self.symbol.engine.install_microprice(1, _TICK, _G)
        self._grid_us = settings.emit_us

    def _keep_row(self, symbol: Symbol, view: View, t_us: int, values: Vector) -> None:
        self.rows.setdefault(t_us, {})[view.name] = to_bytes(values)

    def accept(self, kind: str, message: Any) -> None:
        """Give the symbol a message; a refused one (late, repeated) is left out of ``accepted``."""
        t_us = message.timestamp * 1000
        if kind in POSTS:
            t_us = max(getattr(message, "available", message.timestamp) * 1000, self.symbol.timeline.watermark)
        envelope = Envelope(kind, message, received_ms=getattr(message, "received", None) or 0)
        if self._symbols.accept(envelope) is not None:
            self.accepted.append(Accepted(t_us, kind, message))

    def tick(self, t_us: int) -> None:
        """Let time pass to ``t_us``."""
        self.symbol.accept(Envelope("tick", Tick(t_us // 1000, self.symbol.name)))

    def end(self) -> None:
        """Emit the last rows, up to the boundary after the newest book or trade (or post, if there are only posts)."""
        market = [one.t_us for one in self.accepted if one.kind not in POSTS]
        last = max(market or [one.t_us for one in self.accepted], default=0)
        self.tick(-(-last // self._grid_us) * self._grid_us)


def run_whole(name: str, settings: Settings, feed: Iterable[tuple[str, Any]], make: Make = Symbol) -> Run:
    """Return a run over all messages in the order of arrival, as a worker processes them."""
    run = Run(name, settings, make)
    for kind, message in feed:
        run.accept(kind, message)
    run.end()
    return run


def in_order(accepted: Sequence[Accepted]) -> list[Accepted]:
    """Return messages in the order of the times from which they count.

    A post gets this time as its ``available``, so that it counts from the same time whatever messages are around it.
    """
    out = []
    for t_us, kind, message in sorted(accepted, key=lambda one: one.t_us):
        pinned = msgspec.structs.replace(message, available=t_us // 1000) if kind == "post" else message
        out.append(Accepted(t_us, kind, pinned))
    return out


def since(accepted: Sequence[Accepted], start_us: int) -> Sequence[Accepted]:
    """Return the part from ``start_us`` on of messages that are `in_order`."""
    return accepted[bisect_left(accepted, start_us, key=lambda one: one.t_us) :]


def _raise_our_errors(entry: Origin, refused: Refused) -> None:
    """Raise an error of our own code. A message that is refused for its content is refused in every run alike."""
    if refused.reason is Reason.FAILED:
        raise refused
