"""How far back kernels reach: which feeds a rebuild of their states reads, and from when on.

It follows from the warm-ups that are stated (``warmup``), and from what a kernel is made of (``kernels``). Books are read for as long as
the feature that needs them, and trades without a side make every feature of signed volume need them.

Example: The flow of the book looks at a minute of books, and the price impact at five minutes of books and trades:

>>> from transforms.instrument import Instrument
>>> at_us = 1_700_006_400_000_000
>>> found = needs("book_flow", at_us, Instrument()), needs("kyle", at_us, Instrument())
>>> [{kind: (at_us - need.since_us) // 1_000_000 for kind, need in one.items()} for one in found]
[{'book': 61}, {'book': 301, 'trade': 301}]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from transforms.instrument import Instrument
from transforms.kernel import DAY_US, MINUTE_US, SECOND_US
from transforms.kernels import ALL, KERNEL, Kernel, made_of
from transforms.sessions import utc_day
from transforms.warmup import WarmUp, stated

Source = Literal["book", "trade", "post", "derivatives", "liquidation", "microprice"]
"""Kinds of messages: of the feeds, and the fitted tables."""

_FEED: dict[str, Source] = {
    "microstructure": "book",
    "order_flow": "trade",
    "technical": "trade",
    "sentiment": "post",
    "derivatives": "derivatives",
}


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


def needs(name: str, at_us: int, instrument: Instrument, *, has_sides: bool = True) -> dict[Source, Need]:
    """Return what must be read of each kind of message so that a kernel has its state of ``at_us``; what is made of it may need more.

    A kernel that gives no feature itself looks as far back as those that are made of it. ``has_sides`` says whether the venue tells the
    aggressor's side of its trades.

    >>> {kind: need.bars for kind, need in needs("bars", 1_700_006_400_000_000, Instrument()).items()}
    {'trade': 251}
    """
    found: dict[Source, Need] = {}
    for kernel in (
        [KERNEL[name]] if KERNEL[name].features else [KERNEL[name], *(one for one in ALL if name in one.needs)]
    ):
        for source in sorted(_sources(kernel, has_sides)):
            for need in _of(kernel, source, at_us, instrument):
                found[source] = found[source] | need if source in found else need
    return found


def _sources(kernel: Kernel, has_sides: bool) -> set[Source]:
    found: set[Source] = set()
    for one in map(KERNEL.__getitem__, made_of(kernel.name)):
        if one.name == "liquidations":
            found.add("liquidation")
        if one.name == "microprice_table":
            found.add("microprice")
        elif (package := one.code[0].partition(".")[0]) in _FEED:
            found.add(_FEED[package])
        found |= set(one.also_reads)
        if one.is_signed and not has_sides:
            found.add("book")
    return found


def _of(kernel: Kernel, source: Source, at_us: int, instrument: Instrument) -> list[Need]:
    if source == "microprice":
        return [Need(at_us)]
    if kernel.name == "funding":
        return [Need(at_us - DAY_US)]  # a time of settlement that a venue told counts for a day
    warm_ups = [stated(feature) for feature in kernel.features] or [WarmUp()]
    return [_need(warm_up, at_us, instrument) for warm_up in warm_ups]


def _need(warm_up: WarmUp, at_us: int, instrument: Instrument) -> Need:
    since_us = at_us - warm_up.seconds * SECOND_US - warm_up.bars * MINUTE_US
    if warm_up.session:
        clock = instrument.session_clock()
        start_us, _, _ = clock.session(at_us) if clock is not None else utc_day(at_us)
        since_us = min(since_us, start_us)
    return Need(since_us, warm_up.events, warm_up.bars, not warm_up.recursive)
