"""``depth_bid_10bps`` to ``depth_ask_50bps``, ``book_slope_bid``, ``book_slope_ask``: how much waits at what distance from the mid.

Within x bps of m are the levels with P_b >= m*(1 - x/1e4) and P_a <= m*(1 + x/1e4). Where the last level still is, the depth is null,
because what waits behind it is not known. The slope is that of Q_1 + ... + Q_i on abs(P_i - m)/m; a side with fewer than 10 levels
gives as many as it has. It is also null where prices are so close together that their distances are equal.

Source of the slope: Naes and Skjeltorp 2006, "Order book characteristics and the volume-volatility relation".

Example: The mid is 1000, so 10 bps reach down to 999: 1 at 999.5 and 2 at 999 are worth 2997.5, and 998 lies beyond. The book does not
reach 25 bps. The bids' cumulative sizes 1, 3, 6 at the distances 0.0005, 0.001, 0.002 have the slope 3285.7:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.book(0.5, bids=[(999.5, 1.0), (999.0, 2.0), (998.0, 3.0)], asks=[(1000.5, 1.0)])
>>> feed.value("depth_bid_10bps", at=1), feed.value("depth_bid_25bps", at=1), round(feed.value("book_slope_bid", at=1), 1)
(2997.5, None, 3285.7)
"""

from __future__ import annotations

from transforms.catalog import MICROSTRUCTURE
from transforms.kernel import NAN, Vector, jit
from transforms.microstructure.layout import ASK_PRICE, ASK_SIZE, BID_PRICE, BID_SIZE, N_ASK, N_BID

_slots = MICROSTRUCTURE.slots
DEPTH_BID_10BPS, DEPTH_BID_25BPS, DEPTH_BID_50BPS = _slots("depth_bid_10bps", "depth_bid_25bps", "depth_bid_50bps")
DEPTH_ASK_10BPS, DEPTH_ASK_25BPS, DEPTH_ASK_50BPS = _slots("depth_ask_10bps", "depth_ask_25bps", "depth_ask_50bps")
BOOK_SLOPE_BID, BOOK_SLOPE_ASK = _slots("book_slope_bid", "book_slope_ask")

SLOPE_LEVELS = 10
MIN_SLOPE_LEVELS = 3


@jit
def depth_within(state: Vector, price: int, size: int, n: int, sign: float, limit: float) -> float:
    """Return the quote value of a side's levels up to ``limit``, NaN where no level lies beyond it.

    ``price`` and ``size`` are the offsets of the side. ``sign`` is 1 for asks and -1 for bids: with it, a price farther from the mid is
    always larger.
    """
    depth = 0.0
    for i in range(n):
        p = state[price + i]
        if sign * p > sign * limit:
            return depth
        depth += p * state[size + i]
    return NAN


@jit
def book_slope(state: Vector, price: int, size: int, n: int, mid: float) -> float:
    """Return the slope of cumulative size on relative distance over one side's best levels, NaN under 3 levels."""
    n = min(n, SLOPE_LEVELS)
    if n < MIN_SLOPE_LEVELS:
        return NAN
    mean_x = 0.0
    mean_y = 0.0
    y = 0.0
    for i in range(n):
        y += state[size + i]
        mean_x += abs(state[price + i] - mid) / mid
        mean_y += y
    mean_x /= n
    mean_y /= n
    y = 0.0
    sxy = 0.0
    sxx = 0.0
    for i in range(n):
        y += state[size + i]
        dx = abs(state[price + i] - mid) / mid - mean_x
        sxy += dx * (y - mean_y)
        sxx += dx * dx
    return sxy / sxx if sxx > 0.0 else NAN


@jit
def emit_depth(state: Vector, out: Vector, mid: float) -> None:
    """Write the features of this module from a valid book with the mid ``mid``."""
    n = int(state[N_BID])
    out[DEPTH_BID_10BPS] = depth_within(state, BID_PRICE, BID_SIZE, n, -1.0, mid * (1.0 - 10.0 / 1e4))
    out[DEPTH_BID_25BPS] = depth_within(state, BID_PRICE, BID_SIZE, n, -1.0, mid * (1.0 - 25.0 / 1e4))
    out[DEPTH_BID_50BPS] = depth_within(state, BID_PRICE, BID_SIZE, n, -1.0, mid * (1.0 - 50.0 / 1e4))
    out[BOOK_SLOPE_BID] = book_slope(state, BID_PRICE, BID_SIZE, n, mid)
    n = int(state[N_ASK])
    out[DEPTH_ASK_10BPS] = depth_within(state, ASK_PRICE, ASK_SIZE, n, 1.0, mid * (1.0 + 10.0 / 1e4))
    out[DEPTH_ASK_25BPS] = depth_within(state, ASK_PRICE, ASK_SIZE, n, 1.0, mid * (1.0 + 25.0 / 1e4))
    out[DEPTH_ASK_50BPS] = depth_within(state, ASK_PRICE, ASK_SIZE, n, 1.0, mid * (1.0 + 50.0 / 1e4))
    out[BOOK_SLOPE_ASK] = book_slope(state, ASK_PRICE, ASK_SIZE, n, mid)
