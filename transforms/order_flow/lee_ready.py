"""The aggressor's side of a trade where the venue does not give it.

Quote rule: above the mid the aggressor was a buyer, below it a seller. At the mid, or where no mid is known, the tick rule decides: the
direction of the last change of the trade price, which trades at an unchanged price keep. The mid is that of the spreads: strictly
before the trade and under 1 s old. Where neither rule can tell, the trade is unclassified: it is neither bought nor sold, belongs to
volume and count, and does not count as inferred.

Source: Lee and Ready 1991, without their lag of five seconds, which made up for slow reporting on paper.

Example: The price rose to 100. Below a mid of 100.5 that was a sale; at a mid of 100 the last change decides, so it was bought:

>>> from transforms.kernel import zeros
>>> state = zeros(SIZE)
>>> tick(state, 0, 100.0, 99.0)
>>> infer(state, 0, 100.0, 100.5), infer(state, 0, 100.0, 100.0)
(-1.0, 1.0)
"""

from __future__ import annotations

from transforms.kernel import NAN, Vector, jit

SIZE = 1
"""One slot: direction of the last change of the trade price, +1 or -1; 0 before the first change, NaN where a hole may hide it."""


@jit
def tick(state: Vector, o: int, price: float, last_price: float) -> None:
    """Keep the direction of the move from ``last_price`` (NaN before the first trade and after a hole) to ``price``."""
    if price > last_price:
        state[o] = 1.0
    elif price < last_price:
        state[o] = -1.0


@jit
def forget(state: Vector, o: int) -> None:
    """Take the direction of the last change as unknown, because trades may be missing."""
    state[o] = NAN


@jit
def infer(state: Vector, o: int, price: float, mid: float) -> float:
    """Return 1 for bought, -1 for sold, 0 for unclassified, NaN where a hole hides the side.

    Call ``tick`` for the trade first. ``mid`` may be NaN.
    """
    if price > mid:
        return 1.0
    if price < mid:
        return -1.0
    return float(state[o])
