"""``amihud_60m``: price impact of a unit of quote currency, 1e6 * mean of |r|/D over the one-minute bars of the last 60 whole minutes.

D is the bar's turnover, sum pq. r is the log return from the last trade before the bar, however old, to the bar's last trade. Bars
without volume are skipped. In a covered window every bar has a trade before it, and so a return; the value is also null where a return
leaves the range of a double. Source: Amihud 2002, with minutes for days.

Example: One trade in the last hour: the price went from 100 to 101, ln 1.01 = 0.00995, on a turnover of 2*101 = 202:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.trade(30, price=100.0)
>>> feed.trade(3630, price=101.0, size=2.0)
>>> round(feed.value("amihud_60m", at=3660), 2)
49.26
"""

from __future__ import annotations

from transforms import window
from transforms.catalog import ORDER_FLOW
from transforms.kernel import MINUTE_US, Vector, jit
from transforms.returns import log_ratio

BARS = 60

_N = BARS + 1
"""Bars of the window, and the open bar."""
_TURNOVER, _PRICE, _PRICE_BEFORE = range(3)
"""Channels of a bar: sum of price*lots, last price, last price before the bar."""
_CHANNELS = 3
SIZE = window.size(_N, _CHANNELS)

_AMIHUD = ORDER_FLOW.index["amihud_60m"]


@jit
def add(state: Vector, o: int, t_us: int, price: float, lots: float, last_price: float) -> None:
    """Fold a trade into its bar; ``last_price`` is that of the trade before, NaN where there is none."""
    b = window.bucket(t_us, MINUTE_US)
    window.advance(state, o, _N, _CHANNELS, b)
    at = window.slot(o, _N, _CHANNELS, b)
    if state[at + _PRICE] == 0.0:
        state[at + _PRICE_BEFORE] = last_price
    state[at + _TURNOVER] += price * lots
    state[at + _PRICE] = price


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
        turnover = state[at + _TURNOVER] / scale
        if turnover > 0.0:
            bars += 1
            impact += abs(log_ratio(state[at + _PRICE], state[at + _PRICE_BEFORE])) / turnover
    if bars > 0:
        out[_AMIHUD] = 1e6 * (impact / bars)
