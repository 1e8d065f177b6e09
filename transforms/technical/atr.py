"""``atr_14`` and ``natr_14``: Wilder's average true range of one-minute bars.

True range, from the second bar on: ``max(high - low, |high - previous close|, |low - previous close|)``. The average starts as the mean
of the first 14, then becomes ``(13 atr + range)/14`` with each bar.

State, from offset ``o``: ``| bars | previous close | atr; while it starts, the sum of ranges |``

Example: After a close of 100, fourteen bars from 99 to 103 and one from 100 to 118 that closes where all do: (13*4 + 18)/14 = 5:

>>> from transforms.kernel import zeros
>>> state = zeros(SIZE)
>>> for high, low in [(101.0, 99.0), *[(103.0, 99.0)] * 14, (118.0, 100.0)]:
...     step(state, 0, high, low, 100.0)
>>> float(value(state, 0, 15)), float(normalised(state, 0, 15))
(5.0, 5.0)
"""

from __future__ import annotations

from transforms.kernel import NAN, Vector, jit

PERIOD = 14
_BARS, _CLOSE, _AVERAGE, SIZE = range(4)


@jit
def step(state: Vector, o: int, high: float, low: float, close: float) -> None:
    """Fold in a bar."""
    bars = int(state[o + _BARS]) + 1
    previous = state[o + _CLOSE]
    state[o + _BARS] = float(bars)
    state[o + _CLOSE] = close
    if bars == 1:
        return
    true_range = max(high - low, abs(high - previous), abs(low - previous))
    if bars <= PERIOD + 1:
        state[o + _AVERAGE] += true_range
        if bars == PERIOD + 1:
            state[o + _AVERAGE] /= PERIOD
    else:
        state[o + _AVERAGE] = (state[o + _AVERAGE] * (PERIOD - 1) + true_range) / PERIOD


@jit
def value(state: Vector, o: int, ready: int) -> float:
    """Return the average, NaN before ``ready`` bars (15 at least)."""
    return float(state[o + _AVERAGE]) if int(state[o + _BARS]) >= ready else NAN


@jit
def normalised(state: Vector, o: int, ready: int) -> float:
    """Return the average in % of the last close, NaN before ``ready`` bars."""
    return float(state[o + _AVERAGE] / state[o + _CLOSE] * 100.0) if int(state[o + _BARS]) >= ready else NAN
