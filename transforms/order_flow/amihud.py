"""``amihud_60m``: price impact of a unit of quote currency, 1e6 * mean of |r|/D over the one-minute bars of the last 60 whole minutes.

D is the bar's turnover, sum pq. r is the log return from the last trade of the bar before to the bar's own last trade. Passed over are
bars without volume, and bars without a trade in the minute before: their return is unknown (``returns``). The value is also null where a
return leaves the range of a double. Source: Amihud 2002, with minutes for days.

Example: The price goes from 100 to 101 within a minute, ln 1.01 = 0.00995, on a turnover of 2*101 = 202. The bar before has no return:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.trade(30, price=100.0)
>>> feed.trade(3590, price=100.0)
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

_N = BARS + 2
"""Bars of the window, the one before it, and the open bar."""
_TURNOVER, _PRICE, _CHANNELS = range(3)
"""Channels of a bar: sum of price*lots, last price; and how many there are."""
SIZE = window.size(_N, _CHANNELS)

_AMIHUD = ORDER_FLOW.index["amihud_60m"]


@jit
def add(state: Vector, o: int, t_us: int, price: float, lots: float) -> None:
    """Fold a trade into its bar."""
    b = window.bucket(t_us, MINUTE_US)
    window.advance(state, o, _N, _CHANNELS, b)
    at = window.slot(o, _N, _CHANNELS, b)
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
    before = state[window.slot(o, _N, _CHANNELS, last - BARS) + _PRICE]
    for b in range(last - BARS + 1, last + 1):
        at = window.slot(o, _N, _CHANNELS, b)
        turnover = state[at + _TURNOVER] / scale
        price = state[at + _PRICE]
        if turnover > 0.0 and before > 0.0:
            bars += 1
            impact += abs(log_ratio(price, before)) / turnover
        before = price
    if bars > 0:
        out[_AMIHUD] = 1e6 * (impact / bars)
