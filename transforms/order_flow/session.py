"""Features of the UTC day: cvd, vwap_session, vwap_dev_bps.

A session holds the trades of one UTC date, [00:00, 24:00): a trade of exactly 00:00 is the first of its day. On the day
on which the symbol was first seen it begins with the first trade seen. The row of exactly 00:00 belongs to the new
day, so cvd is 0 and the session's vwap null there unless there was a trade at that very time.
"""

from __future__ import annotations

from transforms.catalog import ORDER_FLOW
from transforms.kernel import DAY_US, Vector, jit

END_US = 0
"""End of the open session, µs; 0 before the first trade."""
DELTA = 1
"""Bought less sold lots."""
LOTS = 2
TURNOVER = 3
"""Sum of price*lots, in order of arrival."""
SIZE = 4

_CVD = ORDER_FLOW.index["cvd"]
_VWAP = ORDER_FLOW.index["vwap_session"]
_DEVIATION = ORDER_FLOW.index["vwap_dev_bps"]


@jit
def start(state: Vector, o: int, t_us: int) -> None:
    """Begin the session of the date of ``t_us``."""
    state[o + END_US] = float((t_us // DAY_US + 1) * DAY_US)
    state[o + DELTA] = 0.0
    state[o + LOTS] = 0.0
    state[o + TURNOVER] = 0.0


@jit
def add(state: Vector, o: int, price: float, lots: float, side: float) -> None:
    """Fold a trade into the open session."""
    state[o + DELTA] += side * lots
    state[o + LOTS] += lots
    state[o + TURNOVER] += price * lots


@jit
def emit(state: Vector, o: int, scale: float, price: float, out: Vector) -> None:
    """Write the session so far; ``price`` is that of the newest trade."""
    out[_CVD] = state[o + DELTA] / scale
    if state[o + LOTS] > 0.0:
        vwap = state[o + TURNOVER] / state[o + LOTS]
        out[_VWAP] = vwap
        out[_DEVIATION] = 1e4 * (price - vwap) / vwap
