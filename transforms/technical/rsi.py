"""rsi_14: relative strength index of one-minute closes (Wilder 1978), bit for bit TA-Lib's RSI.

Seeded with the mean of the first 14 gains and losses; then ``g = (13 g + gain)*(1/14)`` and likewise ``l``;
``100*(g/(g + l))``.

State, from offset ``o``: ``| bars | previous close | g | l |``, sums while seeding.
"""

from __future__ import annotations

from transforms.kernel import NAN, Vector, jit

PERIOD = 14
SIZE = 4
FLAT = 1e-14
"""Where TA-Lib takes ``g + l`` for zero."""


@jit
def step(state: Vector, o: int, close: float) -> None:
    """Fold in the close of a bar."""
    bars = int(state[o]) + 1
    change = close - state[o + 1]
    state[o] = float(bars)
    state[o + 1] = close
    if bars == 1:
        return
    gain = change if change > 0.0 else 0.0
    loss = -change if change < 0.0 else 0.0
    if bars <= PERIOD + 1:
        state[o + 2] += gain
        state[o + 3] += loss
        if bars == PERIOD + 1:
            state[o + 2] *= 1.0 / PERIOD
            state[o + 3] *= 1.0 / PERIOD
    else:
        state[o + 2] = (state[o + 2] * (PERIOD - 1) + gain) * (1.0 / PERIOD)
        state[o + 3] = (state[o + 3] * (PERIOD - 1) + loss) * (1.0 / PERIOD)


@jit
def value(state: Vector, o: int, ready: int) -> float:
    """The index, 0 to 100; NaN before ``ready`` bars (15 at least) and in a flat market."""
    total = state[o + 2] + state[o + 3]
    if int(state[o]) < ready or total < FLAT:
        return NAN
    return float(100.0 * (state[o + 2] / total))
