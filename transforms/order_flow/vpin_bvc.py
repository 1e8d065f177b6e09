"""``vpin_bvc``: VPIN with bulk classification instead of aggressor sides, over the last 50 buckets of ``vpin`` with a known dP.

The share Phi(dP/sigma) of a bucket's volume V counts as bought, so the imbalance of the bucket is

    |2 V Phi(dP/sigma) - V| = V erf(|dP|/(sigma sqrt 2))

dP is the bucket's closing price less the last price before it opened; for the very first bucket, less its first price. sigma is the
sample standard deviation of dP over the 20 buckets closed before this one, so the first value needs 20 + 50 buckets. Where sigma is 0
the limits hold: the imbalance is V if the price moved, and 0 if it did not.

A bucket in which two trades, or the last trade before it and its own first, are more than a fiftieth of a day apart is passed over: it
is in no mean and in no sigma. A bucket takes a fiftieth of a day on average, and a longer silence would make one bucket carry the move
of several (``returns``).

Example: When the price moves by one sigma, Phi(1) = 84.13 % of the volume counts as bought, so 68.27 % of it is imbalance:

>>> round(_one_sided(0.5, 0.5), 4)
0.6827
"""

from __future__ import annotations

import math

from transforms.catalog import ORDER_FLOW
from transforms.kernel import DAY_US, NAN, Vector, jit

BUCKETS = 50
SIGMA_BUCKETS = 20

LONGEST_US = DAY_US // 50
"""The longest silence over which a bucket's change of price is known."""

READY = BUCKETS + SIGMA_BUCKETS
"""Buckets that a value needs."""

CLOSED, _CHANGES = range(2)
"""Number of buckets closed so far; dP of the last 20 buckets."""
_FLOW = _CHANGES + SIGMA_BUCKETS
"""Imbalance of the last 50 buckets in lots, NaN where it had no sigma."""
_LOTS = _FLOW + BUCKETS
"""V of the last 50 buckets."""
SIZE = _LOTS + BUCKETS

_SQRT2 = math.sqrt(2.0)
_VPIN_BVC = ORDER_FLOW.index["vpin_bvc"]


@jit
def close(state: Vector, o: int, v: float, change: float) -> None:
    """Keep a bucket of ``v`` lots over which the price moved by ``change``."""
    closed = int(state[o + CLOSED])
    flow = NAN
    if closed >= SIGMA_BUCKETS:
        flow = v * _one_sided(change, _sigma(state, o, closed))
    state[o + _FLOW + closed % BUCKETS] = flow
    state[o + _LOTS + closed % BUCKETS] = v
    state[o + _CHANGES + closed % SIGMA_BUCKETS] = change
    state[o + CLOSED] = closed + 1.0


@jit
def _one_sided(change: float, sigma: float) -> float:
    """Return |2 Phi(change/sigma) - 1|, or its limit where sigma is 0."""
    if sigma > 0.0:
        return math.erf(abs(change) / (sigma * _SQRT2))
    return 1.0 if change != 0.0 else 0.0


@jit
def _sigma(state: Vector, o: int, closed: int) -> float:
    """Return the sample standard deviation of the last 20 price changes, oldest first."""
    total = 0.0
    for i in range(closed - SIGMA_BUCKETS, closed):
        total += state[o + _CHANGES + i % SIGMA_BUCKETS]
    mean = total / SIGMA_BUCKETS
    squares = 0.0
    for i in range(closed - SIGMA_BUCKETS, closed):
        d = state[o + _CHANGES + i % SIGMA_BUCKETS] - mean
        squares += d * d
    return math.sqrt(squares / (SIGMA_BUCKETS - 1))


@jit
def emit(state: Vector, o: int, out: Vector) -> None:
    """Write ``vpin_bvc``."""
    closed = int(state[o + CLOSED])
    if closed >= READY:
        flow = 0.0
        lots = 0.0
        for i in range(closed - BUCKETS, closed):
            flow += state[o + _FLOW + i % BUCKETS]
            lots += state[o + _LOTS + i % BUCKETS]
        out[_VPIN_BVC] = flow / lots
