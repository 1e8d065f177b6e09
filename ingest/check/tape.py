"""A recording as what each symbol took of it, and runs over parts of that."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ingest.backfill.posts import score_posts
from ingest.messages.envelope import Entry, Envelope
from ingest.messages.kinds import Message, SocialPost, Tick
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.columns import COMMON, GivenColumns
from ingest.recordings.lines import Parsed
from ingest.recordings.recording import Recording
from ingest.sentiment.history import History
from ingest.settings import Settings
from ingest.worker.symbol import Symbol
from ingest.worker.symbols import Make, Symbols
from transforms.catalog import View
from transforms.kernel import Vector, to_bytes
from transforms.microstructure.layout import IMBALANCE_BINS, SPREAD_BINS

Rows = dict[int, dict[str, bytes]]
"""Rows by their time in microseconds and the name of their view, as bytes."""


class Taken(NamedTuple):
    """A message that its symbol took, and the time in microseconds from which it counts."""

    t_us: int
    kind: str
    message: Any


class StandIn:
    """Probabilities from a hash of the text: a check is of times, and needs no model."""

    name = "stand-in"
    revision = "1"
    window = 1024
    tokens_read = 0

    def score(self, texts: Sequence[str]) -> list[tuple[float, float, float] | None]:
        """Three shares of one, the same for a text every time; None for a text without a letter."""
        out: list[tuple[float, float, float] | None] = []
        for text in texts:
            a, b, c = (1 + n for n in blake2b(text.encode(), digest_size=3).digest())
            out.append((a / (a + b + c), b / (a + b + c), c / (a + b + c)) if any(map(str.isalpha, text)) else None)
        return out


def read(
    paths: Sequence[Path],
    settings: Settings,
    symbols: Sequence[str] = (),
    columns: GivenColumns = COMMON,
    refused: Counter[str] | None = None,
) -> dict[str, list[Any]]:
    """The messages of recordings, as ``by_symbol``; lines that are refused are counted into ``refused`` by reason."""
    recording = Recording(paths, None, columns, settings.max_future_ms)

    def taken() -> Iterator[tuple[str, Message | SocialPost]]:
        for stage in (recording.posts(), recording.market()):
            for output in stage:
                if isinstance(output, Parsed):
                    yield output.kind, output.message
                elif refused is not None:
                    refused[output.reason] += 1

    return by_symbol(taken(), settings, symbols)


def by_symbol(
    stream: Iterable[tuple[str, Message | SocialPost]], settings: Settings, symbols: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """Messages as (kind, message), by symbol, posts first; only of ``symbols`` where some are named."""
    posts: list[SocialPost] = []
    found: dict[str, list[Any]] = defaultdict(list)
    market: list[tuple[str, Any]] = []
    for kind, message in stream:
        if isinstance(message, SocialPost):
            posts.append(message)
        else:
            market.append((kind, message))
    texts, _ = score_posts(posts, settings, StandIn(), History(None))
    everything: Iterable[tuple[str, Message]] = [*(("post", post) for post in texts), *market]
    for kind, message in everything:
        if not symbols or message.symbol in symbols:
            found[message.symbol].append((kind, message))
    return dict(sorted(found.items()))


_TICK = 0.01
_G = [(row - IMBALANCE_BINS // 2) / (2.0 + column) for row in range(IMBALANCE_BINS) for column in range(SPREAD_BINS)]
"""A stand-in table of ``microprice``, another number in each cell that is not balanced: without one the feature would be null."""


class Run:
    """One symbol over some messages, its rows kept.

    Attributes
    ----------
    rows:
        What it gave.
    taken:
        What it took, in order of arrival.
    """

    def __init__(self, name: str, settings: Settings, make: Make = Symbol) -> None:
        self.rows: Rows = {}
        self.taken: list[Taken] = []
        self._symbols = Symbols(settings, self._emit, _refuse, make=make)
        self.symbol = self._symbols.open(name)
        self.symbol.engine.install_microprice(1, _TICK, _G)
        self._grid_us = settings.emit_us

    def _emit(self, symbol: Symbol, view: View, t_us: int, values: Vector) -> None:
        self.rows.setdefault(t_us, {})[view.name] = to_bytes(values)

    def feed(self, kind: str, message: Any) -> None:
        """Give it a message; what it refuses (late, repeated) is no part of what it took."""
        t_us = message.timestamp * 1000
        if kind == "post":
            t_us = max(message.available * 1000, self.symbol.timeline.watermark)
        envelope = Envelope(kind, message, received_ms=getattr(message, "received", None) or 0)
        if self._symbols.accept(envelope) is not None:
            self.taken.append(Taken(t_us, kind, message))

    def tick(self, t_us: int) -> None:
        """Say that all up to ``t_us`` was said."""
        self.symbol.accept(Envelope("tick", Tick(t_us // 1000, self.symbol.name)))

    def end(self) -> None:
        """Give the last rows, up to the boundary after the newest book or trade (or post, where there is nothing else)."""
        market = [taken.t_us for taken in self.taken if taken.kind != "post"]
        last = max(market or [taken.t_us for taken in self.taken], default=0)
        self.tick(-(-last // self._grid_us) * self._grid_us)


def whole(name: str, settings: Settings, feed: Iterable[tuple[str, Any]], make: Make = Symbol) -> Run:
    """A run over everything in its order of arrival, as the worker would take it."""
    run = Run(name, settings, make)
    for kind, message in feed:
        run.feed(kind, message)
    run.end()
    return run


def in_order(taken: Sequence[Taken]) -> list[Taken]:
    """What was taken by the time from which it counts; a post says so itself then, whatever surrounds it."""
    out = []
    for t_us, kind, message in sorted(taken, key=lambda one: one.t_us):
        pinned = msgspec.structs.replace(message, available=t_us // 1000) if kind == "post" else message
        out.append(Taken(t_us, kind, pinned))
    return out


def since(taken: Sequence[Taken], start_us: int) -> Sequence[Taken]:
    """The part of an ordered tape from ``start_us`` on."""
    return taken[bisect_left(taken, start_us, key=lambda one: one.t_us) :]


def _refuse(entry: Entry, refused: Refused) -> None:
    """Raise an error of our own code. A message that is refused for what it says is refused in every run alike."""
    if refused.reason is Reason.FAILED:
        raise refused
