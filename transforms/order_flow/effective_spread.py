"""effective_spread_bps_1m: what trades paid against the mid before them.

::

    sum q * 2 s (p - m_before)/m_before * 1e4 / sum q     over the trades in (t - 1 min, t]

m_before is the last mid strictly before the trade and under 1 s old (``mids.before``). Trades without such a mid, and
unclassified ones, take no part. Null where no volume is left.

Huang and Stoll 1996.
"""

from __future__ import annotations

from transforms import window
from transforms.catalog import ORDER_FLOW
from transforms.kernel import Vector, jit

_CHANNELS = 2
"""Sum of lots * 2 s (p - m)/m * 1e4, lots."""

_EFFECTIVE = ORDER_FLOW.index["effective_spread_bps_1m"]


def size(per_second: int) -> int:
    """Slots with ``per_second`` buckets a second."""
    return window.size(60 * per_second, _CHANNELS)


@jit
def advance(state: Vector, o: int, per_second: int, b: int) -> None:
    """Make ``b`` the newest bucket."""
    window.advance(state, o, 60 * per_second, _CHANNELS, b)


@jit
def add(state: Vector, o: int, per_second: int, b: int, price: float, lots: float, side: float, mid: float) -> None:
    """Fold a trade with a side and a mid into bucket ``b``, the newest."""
    at = window.slot(o, 60 * per_second, _CHANNELS, b)
    state[at] += lots * (2e4 * side * (price - mid) / mid)
    state[at + 1] += lots


@jit
def emit(state: Vector, o: int, per_second: int, b: int, out: Vector) -> None:
    """Write the row at the end of bucket ``b``, the newest."""
    n = 60 * per_second
    lots = window.total(state, o, n, _CHANNELS, 1, b, n)
    if lots > 0.0:
        out[_EFFECTIVE] = window.total(state, o, n, _CHANNELS, 0, b, n) / lots
