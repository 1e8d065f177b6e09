"""amihud_60m: price impact of a unit of quote currency, from one-minute bars.

::

    1e6 * mean over bars of |r| / D

over the last 60 whole minutes (k - 1 min, k]. D is the bar's turnover, sum pq; r the log return from the last trade
before the bar, however old, to the bar's last trade. Bars without volume are skipped.

Null where none of them had volume, or the first trade seen lies after the begin of the window. (So every bar in a
window that is covered has a trade before it, and its return.) Null also where a return leaves the range of a double.

Amihud 2002, with minutes for days.
"""

from __future__ import annotations

from transforms import window
from transforms.catalog import ORDER_FLOW
from transforms.kernel import MINUTE_US, Vector, jit
from transforms.returns import log_ratio

BARS = 60

_N = BARS + 1
"""The window and the open bar."""
_CHANNELS = 3
"""Sum of price*lots, last price, last price before the bar."""
SIZE = window.size(_N, _CHANNELS)

_AMIHUD = ORDER_FLOW.index["amihud_60m"]


@jit
def add(state: Vector, o: int, t_us: int, price: float, lots: float, last_price: float) -> None:
    """Fold a trade into its bar; ``last_price`` is that of the trade before, NaN where there is none."""
    b = window.bucket(t_us, MINUTE_US)
    window.advance(state, o, _N, _CHANNELS, b)
    at = window.slot(o, _N, _CHANNELS, b)
    if state[at + 1] == 0.0:
        state[at + 2] = last_price
    state[at] += price * lots
    state[at + 1] = price


@jit
def emit(state: Vector, o: int, t_us: int, scale: float, first_us: int, out: Vector) -> None:
    """Write the row of ``t_us``; ``first_us`` is the time of the first trade seen."""
    last = t_us // MINUTE_US
    if first_us > (last - BARS) * MINUTE_US:
        return
    window.advance(state, o, _N, _CHANNELS, last)
    bars = 0
    impact = 0.0
    for b in range(last - BARS + 1, last + 1):
        at = window.slot(o, _N, _CHANNELS, b)
        turnover = state[at] / scale
        if turnover > 0.0:
            bars += 1
            impact += abs(log_ratio(state[at + 1], state[at + 2])) / turnover
    if bars > 0:
        out[_AMIHUD] = 1e6 * (impact / bars)
