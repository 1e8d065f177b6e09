"""``depth_bid_10bps`` to ``depth_ask_50bps``, ``book_slope_bid`` and ``book_slope_ask``: how much stands how far out.

    depth_{side}_{x}bps   sum P*Q over the side's levels within x bps of m: P_b >= m*(1 - x/1e4), P_a <= m*(1 + x/1e4);
                          quote units
    book_slope_{side}     least-squares slope of the cumulative size Q_1 + ... + Q_i on the relative distance
                          abs(P_i - m)/m, over the best 10 levels or as many as there are; base units per unit of
                          relative distance

A depth is null where the book's last level is still within x bps, for what stands behind it is not known. A slope is
null where the side has fewer than 3 levels, or where its prices are too close together to tell apart. Both are null
without a valid book.

Source of the slope: Naes and Skjeltorp 2006, "Order book characteristics and the volume-volatility relation".
"""

from __future__ import annotations

from transforms.catalog import MICROSTRUCTURE
from transforms.kernel import NAN, Vector, jit
from transforms.microstructure.layout import ASK_PRICE, ASK_SIZE, BID_PRICE, BID_SIZE, N_ASK, N_BID

DEPTH_BID_10BPS = MICROSTRUCTURE.index["depth_bid_10bps"]
DEPTH_BID_25BPS = MICROSTRUCTURE.index["depth_bid_25bps"]
DEPTH_BID_50BPS = MICROSTRUCTURE.index["depth_bid_50bps"]
DEPTH_ASK_10BPS = MICROSTRUCTURE.index["depth_ask_10bps"]
DEPTH_ASK_25BPS = MICROSTRUCTURE.index["depth_ask_25bps"]
DEPTH_ASK_50BPS = MICROSTRUCTURE.index["depth_ask_50bps"]
BOOK_SLOPE_BID = MICROSTRUCTURE.index["book_slope_bid"]
BOOK_SLOPE_ASK = MICROSTRUCTURE.index["book_slope_ask"]

SLOPE_LEVELS = 10
MIN_SLOPE_LEVELS = 3


@jit
def depth_within(state: Vector, price: int, size: int, n: int, sign: float, limit: float) -> float:
    """Quote value of a side's levels up to ``limit``, null where all of its levels are.

    ``price`` and ``size`` say where the side stands; ``sign`` is 1 for asks, -1 for bids, so that farther is always
    larger.
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
    """Slope of cumulative size on relative distance over one side's best levels; null under 3 levels."""
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
