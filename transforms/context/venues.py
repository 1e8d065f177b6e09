"""``pair_basis_bps``, ``cross_venue_mid_dev_bps`` and ``consolidated_imbalance``: one asset in two forms, and at several venues.

Example: The symbol's mid is 100, its pair's 99.9 and another venue's 100.2; 3 wait to buy at both venues, and 1 and 2 to sell:

>>> from transforms.example import HandFeed
>>> feed = HandFeed(pair="SPOT", venues=["X"])
>>> feed.book(0.5, bids=[(99.0, 3.0)], asks=[(101.0, 1.0)])
>>> feed.neighbour(1, "SPOT", 99.9)
>>> feed.neighbour(1, "X", 100.2, bid_size=3.0, ask_size=2.0)
>>> row = feed.rows(at=1)
>>> [round(row[name], 2) for name in ("pair_basis_bps", "cross_venue_mid_dev_bps", "consolidated_imbalance")]
[10.01, -19.96, 0.33]
"""

from __future__ import annotations

from transforms.catalog import CONTEXT
from transforms.context.layout import ASK, BID, MID
from transforms.kernel import Vector, jit

BASIS, DEVIATION, IMBALANCE = CONTEXT.slots("pair_basis_bps", "cross_venue_mid_dev_bps", "consolidated_imbalance")


@jit
def emit_pair(state: Vector, own: int, pair: int, out: Vector) -> None:
    """Write the basis to the pair, from the seconds at ``own`` and ``pair``; an unknown mid is NaN."""
    out[BASIS] = (state[own + MID] - state[pair + MID]) / state[pair + MID] * 1e4


@jit
def emit_venues(state: Vector, own: int, mid: float, bids: float, asks: float, out: Vector) -> None:
    """Write what the symbol is among its asset's venues; ``mid`` is the mean of the others, ``bids`` and ``asks`` their sums."""
    out[DEVIATION] = (state[own + MID] - mid) / mid * 1e4
    bids += state[own + BID]
    asks += state[own + ASK]
    out[IMBALANCE] = (bids - asks) / (bids + asks)
