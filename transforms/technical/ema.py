"""``ema_12``, ``ema_26``, ``macd``, ``macd_signal``, ``macd_hist`` of one-minute closes, as TA-Lib computes them.

An average starts as the plain mean of its first ``n`` values, then becomes ``v = (x - v)*2/(n + 1) + v`` with each value x. TA-Lib starts
the fast average of MACD with the 12 closes that end with the slow one's 26th.

State of one average, from offset ``o``: ``| values | average; while it starts, the sum of values |``.
State of MACD: its fast average, then its signal; the slow average is that of ``ema_26``.

Example: The mean of 1, 2, 3 is 2; then 6 moves it by (6 - 2)*2/(3 + 1) = 2:

>>> from transforms.kernel import zeros
>>> state = zeros(SIZE)
>>> for x in (1.0, 2.0, 3.0, 6.0):
...     step(state, 0, 3, x)
>>> float(state[AVERAGE])
4.0
"""

from __future__ import annotations

from transforms.kernel import Vector, jit

VALUES, AVERAGE, SIZE = range(3)
_FAST_AT, _SIGNAL_AT, MACD_SIZE = 0, SIZE, 2 * SIZE
FAST, SLOW, SIGNAL = 12, 26, 9
"""Periods."""


@jit
def step(state: Vector, o: int, n: int, x: float) -> None:
    """Fold ``x`` into the average of period ``n``."""
    values = int(state[o + VALUES]) + 1
    state[o + VALUES] = float(values)
    if values <= n:
        state[o + AVERAGE] += x
        if values == n:
            state[o + AVERAGE] /= n
    else:
        state[o + AVERAGE] = (x - state[o + AVERAGE]) * (2.0 / (n + 1)) + state[o + AVERAGE]


@jit
def step_macd(state: Vector, o: int, slow: int, close: float) -> None:
    """Fold in a close; call ``step`` of ``ema_26``, at offset ``slow``, first."""
    bars = int(state[slow + VALUES])
    if bars > SLOW - FAST:
        step(state, o + _FAST_AT, FAST, close)
    if bars >= SLOW:
        step(state, o + _SIGNAL_AT, SIGNAL, macd(state, o, slow))


@jit
def macd(state: Vector, o: int, slow: int) -> float:
    """Return EMA(12) - EMA(26), known from 26 bars on."""
    return float(state[o + _FAST_AT + AVERAGE] - state[slow + AVERAGE])


@jit
def macd_signal(state: Vector, o: int) -> float:
    """Return the EMA(9) of macd, known from 34 bars on."""
    return float(state[o + _SIGNAL_AT + AVERAGE])
