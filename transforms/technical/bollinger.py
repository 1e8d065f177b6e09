"""bollinger_pctb and bollinger_width: 20 one-minute closes, 2 population deviations (TA-Lib BBANDS).

Mean and deviation are taken afresh over the 20 closes, as distances from the oldest: a running sum of squares would
lose the digits that matter.

State, from offset ``o``: ``| bars | 20 closes, bar i at i % 20 |``
"""

from __future__ import annotations

import math

from transforms.kernel import NAN, Vector, jit

PERIOD = 20
WIDTH = 2.0
SIZE = 1 + PERIOD


@jit
def step(state: Vector, o: int, close: float) -> None:
    """Fold in the close of a bar."""
    bars = int(state[o])
    state[o + 1 + bars % PERIOD] = close
    state[o] = float(bars + 1)


@jit
def middle(state: Vector, o: int) -> float:
    """Mean of the last 20 closes; NaN with fewer."""
    bars = int(state[o])
    if bars < PERIOD:
        return NAN
    base = state[o + 1 + bars % PERIOD]
    total = 0.0
    for i in range(bars, bars + PERIOD):
        total += state[o + 1 + i % PERIOD] - base
    return float(base + total / PERIOD)


@jit
def deviation(state: Vector, o: int) -> float:
    """Population standard deviation of the last 20 closes, exactly 0 where they are equal; NaN with fewer."""
    bars = int(state[o])
    if bars < PERIOD:
        return NAN
    base = state[o + 1 + bars % PERIOD]
    total = 0.0
    for i in range(bars, bars + PERIOD):
        total += state[o + 1 + i % PERIOD] - base
    mean = total / PERIOD
    squares = 0.0
    for i in range(bars, bars + PERIOD):
        d = state[o + 1 + i % PERIOD] - base - mean
        squares += d * d
    return math.sqrt(squares / PERIOD)


@jit
def percent_b(state: Vector, o: int) -> float:
    """``(close - lower)/(upper - lower)`` of the last bar; NaN with fewer than 20 bars or where all closes are equal."""
    dev = deviation(state, o)
    if not dev > 0.0:
        return NAN
    close = state[o + 1 + (int(state[o]) - 1) % PERIOD]
    return float((close - middle(state, o) + WIDTH * dev) / (2.0 * WIDTH * dev))


@jit
def width(state: Vector, o: int) -> float:
    """``(upper - lower)/middle``; NaN with fewer than 20 bars."""
    return 2.0 * WIDTH * deviation(state, o) / middle(state, o)
