"""``mid_price``, ``spread``, ``spread_pct``, ``weighted_mid``, ``weighted_mid_dev_bps``: the prices of the best level.

The weighted mid is the mid moved towards the side with the smaller size. Source: Gatheral and Oomen 2010, "Zero-intelligence realized
variance estimation".

Example: 3 wait to buy at 99 and 1 to sell at 101. The weighted mid is (99*1 + 101*3)/4 = 100.5, 50 bps above the mid of 100:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.book(0.5, bids=[(99.0, 3.0)], asks=[(101.0, 1.0)])
>>> [feed.value(name, at=1) for name in ("mid_price", "spread_pct", "weighted_mid", "weighted_mid_dev_bps")]
[100.0, 2.0, 100.5, 50.0]
"""

from __future__ import annotations

from transforms.catalog import MICROSTRUCTURE
from transforms.kernel import Vector, jit
from transforms.microstructure.layout import ASK_PRICE, ASK_SIZE, BID_PRICE, BID_SIZE

MID_PRICE, SPREAD, SPREAD_PCT = MICROSTRUCTURE.slots("mid_price", "spread", "spread_pct")
WEIGHTED_MID, WEIGHTED_MID_DEV_BPS = MICROSTRUCTURE.slots("weighted_mid", "weighted_mid_dev_bps")


@jit
def emit_mid(state: Vector, out: Vector) -> float:
    """Write the features of this module from a valid book, and return m."""
    bid = state[BID_PRICE]
    ask = state[ASK_PRICE]
    bid_size = state[BID_SIZE]
    ask_size = state[ASK_SIZE]
    mid: float = (bid + ask) / 2.0
    out[MID_PRICE] = mid
    out[SPREAD] = ask - bid
    out[SPREAD_PCT] = (ask - bid) / mid * 100.0
    weighted = (bid * ask_size + ask * bid_size) / (bid_size + ask_size)
    out[WEIGHTED_MID] = weighted
    out[WEIGHTED_MID_DEV_BPS] = (weighted - mid) / mid * 1e4
    return mid
