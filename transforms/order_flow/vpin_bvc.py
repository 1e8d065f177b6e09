"""vpin_bvc: VPIN with bulk classification instead of aggressor sides.

Of a bucket's volume V the share Phi(dP/sigma) counts as bought, so its imbalance is::

    |2 V Phi(dP/sigma) - V| = V erf(|dP|/(sigma sqrt 2))

dP is the bucket's closing price less the last price before it opened (less its first price, for the very first
bucket); sigma the sample standard deviation of dP over the 20 buckets closed before this one. Where sigma is 0 the
limits hold: imbalance V if the price moved, 0 if it did not. Over the last 50 buckets, like vpin; buckets are vpin's.

Null with fewer than 70 closed buckets: 50, and 20 before the first of them for its sigma.

Easley, Lopez de Prado, O'Hara 2012; Andersen and Bondarenko 2013 dispute it.
"""

from __future__ import annotations

import math

from transforms.catalog import ORDER_FLOW
from transforms.kernel import NAN, Vector, jit

BUCKETS = 50
SIGMA_BUCKETS = 20

_FLOW = SIGMA_BUCKETS
"""Behind the last 20 price changes: imbalance in lots of the last 50 buckets, NaN where it had no sigma."""
SIZE = SIGMA_BUCKETS + BUCKETS

_SQRT2 = math.sqrt(2.0)
_VPIN_BVC = ORDER_FLOW.index["vpin_bvc"]


@jit
def close(state: Vector, o: int, closed: int, v: float, change: float) -> None:
    """Note a bucket of ``v`` lots over which the price moved by ``change``; ``closed`` buckets came before it."""
    flow = NAN
    if closed >= SIGMA_BUCKETS:
        flow = v * _one_sided(change, _sigma(state, o, closed))
    state[o + _FLOW + closed % BUCKETS] = flow
    state[o + closed % SIGMA_BUCKETS] = change


@jit
def _one_sided(change: float, sigma: float) -> float:
    """|2 Phi(change/sigma) - 1|, and its limits where sigma is 0."""
    if sigma > 0.0:
        return math.erf(abs(change) / (sigma * _SQRT2))
    return 1.0 if change != 0.0 else 0.0


@jit
def _sigma(state: Vector, o: int, closed: int) -> float:
    """Sample standard deviation of the last 20 price changes, oldest first."""
    total = 0.0
    for i in range(closed - SIGMA_BUCKETS, closed):
        total += state[o + i % SIGMA_BUCKETS]
    mean = total / SIGMA_BUCKETS
    squares = 0.0
    for i in range(closed - SIGMA_BUCKETS, closed):
        d = state[o + i % SIGMA_BUCKETS] - mean
        squares += d * d
    return math.sqrt(squares / (SIGMA_BUCKETS - 1))


@jit
def emit(state: Vector, o: int, closed: int, lots: float, out: Vector) -> None:
    """Write vpin_bvc; ``lots`` is the volume of the last 50 buckets."""
    if closed >= BUCKETS + SIGMA_BUCKETS:
        total = 0.0
        for i in range(closed - BUCKETS, closed):
            total += state[o + _FLOW + i % BUCKETS]
        out[_VPIN_BVC] = total / lots
