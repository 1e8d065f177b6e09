"""roll_spread_5m: the effective spread that bounces between bid and ask would leave in the trade prices.

::

    2 sqrt(-c),   c = mean(dp_i dp_i-1) - mean(dp_i) mean(dp_i-1)

over the trades i in (t - 5 min, t], dp_i the change of price from the trade before to trade i. A pair counts at the time
of its later trade; one whose changes reach back before the window, but not before the first trade seen, counts too.

Null where c is not negative: then prices did not bounce, and the model says nothing.

Roll 1984.
"""

from __future__ import annotations

import math

from transforms import window
from transforms.catalog import ORDER_FLOW
from transforms.kernel import NAN, Vector, jit

_CHANNELS = 4
"""Pairs, sum dp_i, sum dp_i-1, sum dp_i dp_i-1; the ring stands behind one slot with the last change of price."""

_ROLL = ORDER_FLOW.index["roll_spread_5m"]


def size(per_second: int) -> int:
    """Slots with ``per_second`` buckets a second."""
    return 1 + window.size(300 * per_second, _CHANNELS)


def init(state: Vector, o: int) -> None:
    """No price has changed yet."""
    state[o] = NAN


@jit
def advance(state: Vector, o: int, per_second: int, b: int) -> None:
    """Make ``b`` the newest bucket."""
    window.advance(state, o + 1, 300 * per_second, _CHANNELS, b)


@jit
def add(state: Vector, o: int, per_second: int, b: int, price: float, last_price: float) -> None:
    """Fold a trade into bucket ``b``, the newest; ``last_price`` is that of the trade before, NaN where there is none."""
    if last_price != last_price:
        return
    change = price - last_price
    before = state[o]
    if before == before:
        at = window.slot(o + 1, 300 * per_second, _CHANNELS, b)
        state[at] += 1.0
        state[at + 1] += change
        state[at + 2] += before
        state[at + 3] += change * before
    state[o] = change


@jit
def emit(state: Vector, o: int, per_second: int, b: int, out: Vector) -> None:
    """Write the row at the end of bucket ``b``, the newest."""
    n = 300 * per_second
    pairs = 0.0
    later = 0.0
    earlier = 0.0
    products = 0.0
    for i in range(b - n + 1, b + 1):
        at = o + 2 + (i % n) * _CHANNELS
        pairs += state[at]
        later += state[at + 1]
        earlier += state[at + 2]
        products += state[at + 3]
    if pairs > 0.0:
        covariance = products / pairs - (later / pairs) * (earlier / pairs)
        if covariance < 0.0:
            out[_ROLL] = 2.0 * math.sqrt(-covariance)
