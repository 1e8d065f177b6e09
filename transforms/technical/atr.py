"""atr_14 and natr_14: Wilder's average true range of one-minute bars (TA-Lib ATR, NATR).

True range: ``max(high - low, |high - previous close|, |low - previous close|)``, from the second bar on. Seeded
with the mean of the first 14, then ``(13 atr + range)/14``. natr is in % of the last bar's close.

State, from offset ``o``: ``| bars | previous close | atr, sum of ranges while seeding |``
"""

from __future__ import annotations

from transforms.kernel import NAN, Vector, jit

PERIOD = 14
SIZE = 3


@jit
def step(state: Vector, o: int, high: float, low: float, close: float) -> None:
    """Fold in a bar."""
    bars = int(state[o]) + 1
    previous = state[o + 1]
    state[o] = float(bars)
    state[o + 1] = close
    if bars == 1:
        return
    true_range = max(high - low, abs(high - previous), abs(low - previous))
    if bars <= PERIOD + 1:
        state[o + 2] += true_range
        if bars == PERIOD + 1:
            state[o + 2] /= PERIOD
    else:
        state[o + 2] = (state[o + 2] * (PERIOD - 1) + true_range) / PERIOD


@jit
def value(state: Vector, o: int, ready: int) -> float:
    """The average, quote units; NaN before ``ready`` bars (15 at least)."""
    return float(state[o + 2]) if int(state[o]) >= ready else NAN


@jit
def normalised(state: Vector, o: int, ready: int) -> float:
    """The average in % of the last close; NaN before ``ready`` bars."""
    return float(state[o + 2] / state[o + 1] * 100.0) if int(state[o]) >= ready else NAN
