"""The aggressor's side of a trade where the venue does not give it.

Quote rule: above the mid a buyer was the aggressor, below it a seller. At the mid, or where no mid is known, the tick
rule: the direction of the last change of the trade price (a zero tick keeps it). The mid is the one that the spreads
use, strictly before the trade and under 1 s old. Where neither rule can tell, the trade is unclassified: neither
bought nor sold, yet part of volume and count, and not counted as inferred.

Lee and Ready 1991, without their five-second lag, which made up for slow reporting on paper.
"""

from __future__ import annotations

from transforms.kernel import Vector, jit

SIZE = 1
"""One slot: direction of the last change of the trade price, +1 or -1; 0 before the first change."""


@jit
def tick(state: Vector, o: int, price: float, last_price: float) -> None:
    """Note the direction of the move from ``last_price`` (NaN before the first trade) to ``price``."""
    if price > last_price:
        state[o] = 1.0
    elif price < last_price:
        state[o] = -1.0


@jit
def infer(state: Vector, o: int, price: float, mid: float) -> float:
    """+1 bought, -1 sold, 0 unclassified; after ``tick`` of the same trade. ``mid`` may be NaN."""
    if price > mid:
        return 1.0
    if price < mid:
        return -1.0
    return float(state[o])
