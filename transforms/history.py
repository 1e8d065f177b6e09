"""How far back kernels reach: which feeds a rebuild of their states reads, and from when on.

It follows from the warm-ups that are stated (``warmup``), and from what a kernel is made of (``kernels``). Books are read for as long as
the feature that needs them, and trades without a side make every feature of signed volume need them.

Example: The books of the last minute, and the books and trades of five minutes:

>>> from transforms.instrument import Instrument
>>> at_us = 1_700_006_400_000_000
>>> {feed: (at_us - need.since_us) // 1_000_000 for feed, need in needs({"book_flow"}, at_us, Instrument()).items()}
{'book': 61}
>>> {feed: (at_us - need.since_us) // 1_000_000 for feed, need in needs({"kyle"}, at_us, Instrument()).items()}
{'book': 301, 'trade': 301}
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from transforms.instrument import Instrument
from transforms.kernel import MINUTE_US, SECOND_US
from transforms.kernels import KERNEL, Kernel, made_of, with_users
from transforms.sessions import utc_day
from transforms.warmup import WarmUp, stated

Source = Literal["book", "trade", "post", "table"]
"""Feeds, and the fitted tables of ``microprice``."""

_FEED: dict[str, Source] = {"microstructure": "book", "order_flow": "trade", "technical": "trade", "sentiment": "post"}


@dataclass(frozen=True, slots=True)
class Need:
    """What is read of a feed.

    Attributes
    ----------
    since_us : int
        All messages after this time, µs.
    before : int
        And so many messages at or before it: the newest ones, however old they are.
    bars : int
        Read further back until there are so many one-minute bars; a minute without a trade makes none.
    is_exact : bool
        Whether the state is then that of a kernel which heard everything, to the bit; else within ``warmup.FADED``.
    """

    since_us: int
    before: int = 1
    bars: int = 0
    is_exact: bool = True

    def __or__(self, other: Need) -> Need:
        """Return what serves both."""
        return Need(
            min(self.since_us, other.since_us),
            max(self.before, other.before),
            max(self.bars, other.bars),
            self.is_exact and other.is_exact,
        )


def needs(names: Iterable[str], at_us: int, instrument: Instrument, *, has_sides: bool = True) -> dict[Source, Need]:
    """Return what must be read so that these kernels, and all that are made of them, have their states of ``at_us``.

    ``has_sides`` says whether the venue tells the aggressor's side of its trades.
    """
    found: dict[Source, Need] = {}
    for kernel in map(KERNEL.__getitem__, with_users(names)):
        for source in sorted(_sources(kernel, has_sides)):
            for need in _of(kernel, source, at_us, instrument):
                found[source] = found[source] | need if source in found else need
    return found


def _sources(kernel: Kernel, has_sides: bool) -> set[Source]:
    found: set[Source] = set()
    for one in map(KERNEL.__getitem__, made_of(kernel.name)):
        if one.name == "microprice_table":
            found.add("table")
        elif (package := one.code[0].partition(".")[0]) in _FEED:
            found.add(_FEED[package])
        if "book" in one.also_reads or (one.is_signed and not has_sides):
            found.add("book")
    return found


def _of(kernel: Kernel, source: Source, at_us: int, instrument: Instrument) -> list[Need]:
    if source == "table":
        return [Need(at_us)]
    warm_ups = [stated(feature) for feature in kernel.features] or [WarmUp()]
    return [_need(warm_up, at_us, instrument) for warm_up in warm_ups]


def _need(warm_up: WarmUp, at_us: int, instrument: Instrument) -> Need:
    since_us = at_us - warm_up.seconds * SECOND_US - warm_up.bars * MINUTE_US
    if warm_up.session:
        clock = instrument.session_clock()
        start_us, _, _ = clock.session(at_us) if clock is not None else utc_day(at_us)
        since_us = min(since_us, start_us)
    return Need(since_us, warm_up.events, warm_up.bars, not warm_up.recursive)
