"""``effective_spread_bps_1m``: what trades paid against the mid before them, sum q * 2 s (p - m_before)/m_before * 1e4 / sum q.

m_before is that of ``mids.before``. Trades without such a mid, and unclassified trades, are left out; a minute in which
books were lost has no value.

Example: Around a mid of 100, 1 is bought at 100.5 (twice 50 bps) and 3 are sold at 99.9 (twice 10 bps): (1*100 + 3*20)/4 bps:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.book(0.5, bids=[(99.0, 1.0)], asks=[(101.0, 1.0)])
>>> feed.trade(0.8, price=100.5, size=1.0, side=1)
>>> feed.trade(0.9, price=99.9, size=3.0, side=-1)
>>> round(feed.value("effective_spread_bps_1m", at=1), 6)
40.0
"""

from __future__ import annotations

from transforms import window
from transforms.catalog import ORDER_FLOW
from transforms.kernel import Vector, jit

SECONDS = 60
_PAID, _LOTS = range(2)
"""Channels of a bucket: sum of lots * 2 s (p - m)/m * 1e4, lots."""
_CHANNELS = 2

_EFFECTIVE = ORDER_FLOW.index["effective_spread_bps_1m"]


def size(per_second: int) -> int:
    """Return how many slots it takes with ``per_second`` buckets a second."""
    return window.size(SECONDS * per_second, _CHANNELS)


@jit
def advance(state: Vector, o: int, per_second: int, b: int) -> None:
    """Make ``b`` the newest bucket."""
    window.advance(state, o, SECONDS * per_second, _CHANNELS, b)


@jit
def add(state: Vector, o: int, per_second: int, b: int, price: float, lots: float, side: float, mid: float) -> None:
    """Fold a trade with a side and a mid into bucket ``b``, the newest."""
    at = window.slot(o, SECONDS * per_second, _CHANNELS, b)
    state[at + _PAID] += lots * (2e4 * side * (price - mid) / mid)
    state[at + _LOTS] += lots


@jit
def emit(state: Vector, o: int, per_second: int, b: int, out: Vector) -> None:
    """Write the row at the end of bucket ``b``, the newest."""
    n = SECONDS * per_second
    lots = window.total(state, o, n, _CHANNELS, _LOTS, b, n)
    if lots > 0.0:
        out[_EFFECTIVE] = window.total(state, o, n, _CHANNELS, _PAID, b, n) / lots
