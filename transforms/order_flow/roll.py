"""``roll_spread_5m``: the effective spread whose bounce between bid and ask explains the changes of the trade price, quote units.

It is 2 sqrt(-c) with c = mean(dp_i dp_i-1) - mean(dp_i) mean(dp_i-1), over the trades i in (t - 5 min, t]. dp_i is the change of price
from the trade before to trade i. A pair counts at the time of its later trade; a pair whose changes reach back before the window, but
not before the first trade seen, counts too. Where c is not negative, prices did not bounce, and the model says nothing. A change over
more than 60 s without a trade is unknown (``returns``): the value is null while one of its two pairs is in the window.

Example: The changes +1, -1, 0, 0, +1 make four pairs. One has the product -1, the others 0, and the means are 0, so c = -1/4:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> for second, price in enumerate((100.0, 101.0, 100.0, 100.0, 100.0, 101.0), start=1):
...     feed.trade(second, price)
>>> feed.value("roll_spread_5m", at=6)
1.0
"""

from __future__ import annotations

import math

from transforms import window
from transforms.catalog import ORDER_FLOW
from transforms.kernel import NAN, Vector, jit
from transforms.returns import SUCCESSIVE_US

_CHANGE, _UNKNOWN, _RING = range(3)
"""The last change of price, NaN before the first, infinite if unknown; newest bucket with an unknown pair; the ring of buckets."""
_PAIRS, _LATER, _EARLIER, _PRODUCTS, _CHANNELS = range(5)
"""Channels of a bucket: number of pairs, sum dp_i, sum dp_i-1, sum dp_i dp_i-1; and how many there are."""
SECONDS = 300
_SILENT = math.inf
"""Change of price over a silence."""

_ROLL = ORDER_FLOW.index["roll_spread_5m"]


def size(per_second: int) -> int:
    """Return how many slots it takes with ``per_second`` buckets a second."""
    return _RING + window.size(SECONDS * per_second, _CHANNELS)


def init(state: Vector, o: int) -> None:
    """Start with no change of price known."""
    state[o + _CHANGE] = NAN
    state[o + _UNKNOWN] = -math.inf


@jit
def advance(state: Vector, o: int, per_second: int, b: int) -> None:
    """Make ``b`` the newest bucket."""
    window.advance(state, o + _RING, SECONDS * per_second, _CHANNELS, b)


@jit
def forget(state: Vector, o: int) -> None:
    """Take the last change of price as unknown."""
    state[o + _CHANGE] = _SILENT


@jit
def add(state: Vector, o: int, per_second: int, b: int, price: float, last_price: float, since_us: float) -> None:
    """Fold a trade into bucket ``b``, the newest.

    ``last_price`` of ``since_us`` ago is that of the trade before, NaN for the first; ``since_us`` is infinite after a hole.
    """
    if last_price != last_price:
        return
    change = price - last_price if since_us <= SUCCESSIVE_US else _SILENT
    before = state[o + _CHANGE]
    if change == _SILENT or before == _SILENT:
        state[o + _UNKNOWN] = float(b)
    elif before == before:
        at = window.slot(o + _RING, SECONDS * per_second, _CHANNELS, b)
        state[at + _PAIRS] += 1.0
        state[at + _LATER] += change
        state[at + _EARLIER] += before
        state[at + _PRODUCTS] += change * before
    state[o + _CHANGE] = change


@jit
def emit(state: Vector, o: int, per_second: int, b: int, out: Vector) -> None:
    """Write the row at the end of bucket ``b``, the newest."""
    n = SECONDS * per_second
    pairs = 0.0
    later = 0.0
    earlier = 0.0
    products = 0.0
    first = o + _RING + window.BUCKETS
    pairs_at, later_at, earlier_at, products_at = first + _PAIRS, first + _LATER, first + _EARLIER, first + _PRODUCTS
    for i in range(b - n + 1, b + 1):
        at = (i % n) * _CHANNELS
        pairs += state[pairs_at + at]
        later += state[later_at + at]
        earlier += state[earlier_at + at]
        products += state[products_at + at]
    if pairs > 0.0 and state[o + _UNKNOWN] <= b - n:
        covariance = products / pairs - (later / pairs) * (earlier / pairs)
        if covariance < 0.0:
            out[_ROLL] = 2.0 * math.sqrt(-covariance)
