"""``liquidation_buy_1m``, ``liquidation_sell_1m``, ``liquidation_imbalance_5m``: positions that the venue closed by force.

    liquidation_buy_1m  = sum of the quote value of forced buys over (t - 1 min, t], which close shorts; sells close longs
    imbalance           = (buys - sells)/(buys + sells) over 5 min

The quote value of n contracts of size c at the price P is n c P, or n c of an inverse one. Null: liquidations are not heard since the
beginning of the window: from the first one on, or from the end of a gap of the channel ``liquidation``, with which a feed also says that it
begins to hear them. The imbalance is null also without a liquidation in the window. Binance's stream tells at most one a second and symbol
(the newest), so sums of it are a lower bound. A liquidation that comes late counts in the bucket of its time, for rows from then on. A
liquidation has no id, so one of the time, the side and the value of one of the last ``KEPT`` is a repeat, and does not count again.

State, from offset ``o``: ``| time and signed value of the last KEPT, the n-th at n % KEPT | n | ring over 5 min of two channels, bought and
sold |``.

Example: A first liquidation more than a minute ago, then 3 coins bought at 100 and 1 sold at 99:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.liquidation(0.5, price=100.0, size=7.0, side=1)
>>> feed.liquidation(301, price=100.0, size=3.0, side=1)
>>> feed.liquidation(302, price=99.0, size=1.0, side=-1)
>>> [feed.value(name, at=303) for name in ("liquidation_buy_1m", "liquidation_sell_1m")]
[300.0, 99.0]
>>> round(feed.value("liquidation_imbalance_5m", at=304), 4)
0.5038
"""

from __future__ import annotations

from transforms import window
from transforms.catalog import DERIVATIVES
from transforms.derivatives import told
from transforms.instrument import quote_value
from transforms.kernel import MINUTE_US, SECOND_US, Vector, jit

_BUY, _SELL, _IMBALANCE = DERIVATIVES.slots("liquidation_buy_1m", "liquidation_sell_1m", "liquidation_imbalance_5m")
_MINUTE, _FIVE = 60, 300
"""Seconds of the two windows."""
_BOUGHT, _SOLD, _CHANNELS = range(3)
KEPT = 128
"""Binance tells at most 60 in the minute in which a repeat is not late."""
_COUNT = 2 * KEPT
_RING = _COUNT + 1


def size(bucket_us: int) -> int:
    """Return how many slots the ring takes, with buckets of ``bucket_us``."""
    return _RING + window.size(_FIVE * (SECOND_US // bucket_us), _CHANNELS)


@jit
def add(state: Vector, o: int, bucket_us: int, t_us: int, price: float, contracts: float, side: int) -> bool:
    """Count a liquidation; ``side`` is that of the forced order, 1 bought and -1 sold. Return False, and count nothing, for a repeat."""
    value = quote_value(contracts, price, state[told.CONTRACT], state[told.INVERSE] > 0.0)
    for i in range(KEPT):
        if state[o + 2 * i] == t_us and state[o + 2 * i + 1] == side * value:
            return False
    n = int(state[o + _COUNT])
    state[o + 2 * (n % KEPT)] = float(t_us)
    state[o + 2 * (n % KEPT) + 1] = side * value
    state[o + _COUNT] = float(n + 1)
    state[told.NEWEST_US] = max(state[told.NEWEST_US], float(t_us))
    if state[told.HEARD_US] == 0.0:
        state[told.HEARD_US] = float(t_us)
    ring, buckets = o + _RING, _FIVE * (SECOND_US // bucket_us)
    b = window.bucket(t_us, bucket_us)
    window.advance(state, ring, buckets, _CHANNELS, b)
    if b > state[ring] - buckets:  # else it is older than every window
        state[window.slot(ring, buckets, _CHANNELS, b) + (_BOUGHT if side > 0 else _SOLD)] += value
    return True


@jit
def lose(state: Vector, until_us: int) -> None:
    """Note that liquidations until ``until_us`` may be missing, and that those after it are heard."""
    state[told.HEARD_US] = max(state[told.HEARD_US], float(until_us))


@jit
def emit(state: Vector, o: int, bucket_us: int, t_us: int, out: Vector) -> None:
    """Write the features of this module."""
    if state[told.HEARD_US] == 0.0:
        return
    heard_us = t_us - state[told.HEARD_US]
    o += _RING
    n = _FIVE * (SECOND_US // bucket_us)
    b = t_us // bucket_us
    window.advance(state, o, n, _CHANNELS, b)
    if heard_us >= MINUTE_US:
        short = _MINUTE * (SECOND_US // bucket_us)
        out[_BUY] = window.total(state, o, n, _CHANNELS, _BOUGHT, b, short)
        out[_SELL] = window.total(state, o, n, _CHANNELS, _SOLD, b, short)
    if heard_us >= 5 * MINUTE_US:
        bought = window.total(state, o, n, _CHANNELS, _BOUGHT, b, n)
        sold = window.total(state, o, n, _CHANNELS, _SOLD, b, n)
        if bought + sold > 0.0:
            out[_IMBALANCE] = (bought - sold) / (bought + sold)
