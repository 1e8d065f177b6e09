"""``bollinger_pctb`` and ``bollinger_width``: 20 one-minute closes and 2 population deviations.

``middle`` is the mean of the closes, ``upper`` and ``lower`` lie 2 deviations from it. Both are computed from the 20 closes each time, as
distances from the oldest, because a running sum of squares would lose the digits that matter.

State, from offset ``o``: ``| bars | 20 closes, bar i at i % 20 |``

Example: Ten closes of 99 and ten of 101 have the mean 100 and the deviation 1, so the band is 98 to 102, and 101 lies at 3/4 of it:

>>> from transforms.kernel import zeros
>>> state = zeros(SIZE)
>>> for close in [99.0, 101.0] * 10:
...     step(state, 0, close)
>>> float(percent_b(state, 0)), float(width(state, 0))
(0.75, 0.04)
"""

from __future__ import annotations

import math

from transforms.kernel import NAN, Vector, jit

PERIOD = 20
WIDTH = 2.0
_BARS, _CLOSES = range(2)
SIZE = _CLOSES + PERIOD


@jit
def step(state: Vector, o: int, close: float) -> None:
    """Fold in the close of a bar."""
    bars = int(state[o + _BARS])
    state[o + _CLOSES + bars % PERIOD] = close
    state[o + _BARS] = float(bars + 1)


@jit
def forget(state: Vector, o: int) -> None:
    """Forget every close."""
    state[o + _BARS] = 0.0


@jit
def middle(state: Vector, o: int) -> float:
    """Return the mean of the last 20 closes, NaN with fewer."""
    bars = int(state[o + _BARS])
    if bars < PERIOD:
        return NAN
    closes = o + _CLOSES
    oldest = state[closes + bars % PERIOD]
    total = 0.0
    for i in range(bars, bars + PERIOD):
        total += state[closes + i % PERIOD] - oldest
    return float(oldest + total / PERIOD)


@jit
def deviation(state: Vector, o: int) -> float:
    """Return the population standard deviation of the last 20 closes, exactly 0 where they are equal; NaN with fewer."""
    bars = int(state[o + _BARS])
    if bars < PERIOD:
        return NAN
    closes = o + _CLOSES
    oldest = state[closes + bars % PERIOD]
    total = 0.0
    for i in range(bars, bars + PERIOD):
        total += state[closes + i % PERIOD] - oldest
    mean = total / PERIOD
    squares = 0.0
    for i in range(bars, bars + PERIOD):
        d = state[closes + i % PERIOD] - oldest - mean
        squares += d * d
    return math.sqrt(squares / PERIOD)


@jit
def percent_b(state: Vector, o: int) -> float:
    """Return ``bollinger_pctb``."""
    dev = deviation(state, o)
    if not dev > 0.0:
        return NAN
    close = state[o + _CLOSES + (int(state[o + _BARS]) - 1) % PERIOD]
    return float((close - middle(state, o) + WIDTH * dev) / (2.0 * WIDTH * dev))


@jit
def width(state: Vector, o: int) -> float:
    """Return ``bollinger_width``."""
    return 2.0 * WIDTH * deviation(state, o) / middle(state, o)
