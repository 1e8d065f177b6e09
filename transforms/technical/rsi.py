"""``rsi_14``: relative strength index of one-minute closes, bit for bit TA-Lib's RSI.

The averages g and l start as the means of the first 14 gains and losses, then ``g = (13 g + gain)*(1/14)`` with each bar, and l likewise.

State, from offset ``o``: ``| bars | previous close | g | l |``; while they start, the sums of gains and losses

Example: Of 14 changes nine are gains of 2 and five losses of 2, so g is 18/14, l is 10/14, and the index 100*18/28:

>>> from transforms.kernel import zeros
>>> state = zeros(SIZE)
>>> for close in (*[100.0, 102.0] * 6, 104.0, 106.0, 108.0):
...     step(state, 0, close)
>>> round(value(state, 0, 15), 2)
64.29
"""

from __future__ import annotations

from transforms.kernel import NAN, Vector, jit

PERIOD = 14
FLAT = 1e-14
"""TA-Lib takes a smaller ``g + l`` for zero, whatever the price; below a price of 1 we take this share of the price."""
_BARS, _CLOSE, _GAIN, _LOSS, SIZE = range(5)


@jit
def step(state: Vector, o: int, close: float) -> None:
    """Fold in the close of a bar."""
    bars = int(state[o + _BARS]) + 1
    change = close - state[o + _CLOSE]
    state[o + _BARS] = float(bars)
    state[o + _CLOSE] = close
    if bars == 1:
        return
    gain = change if change > 0.0 else 0.0
    loss = -change if change < 0.0 else 0.0
    if bars <= PERIOD + 1:
        state[o + _GAIN] += gain
        state[o + _LOSS] += loss
        if bars == PERIOD + 1:
            state[o + _GAIN] *= 1.0 / PERIOD
            state[o + _LOSS] *= 1.0 / PERIOD
    else:
        state[o + _GAIN] = (state[o + _GAIN] * (PERIOD - 1) + gain) * (1.0 / PERIOD)
        state[o + _LOSS] = (state[o + _LOSS] * (PERIOD - 1) + loss) * (1.0 / PERIOD)


@jit
def value(state: Vector, o: int, ready: int) -> float:
    """Return the index, NaN before ``ready`` bars (15 at least) and in a flat market."""
    total = state[o + _GAIN] + state[o + _LOSS]
    if int(state[o + _BARS]) < ready or total <= FLAT * min(1.0, state[o + _CLOSE]):
        return NAN
    return float(100.0 * (state[o + _GAIN] / total))
