"""ema_12, ema_26 and macd, macd_signal, macd_hist of one-minute closes, as TA-Lib computes them.

An average is seeded with the plain mean of its first ``n`` values, then ``v = (x - v)*2/(n + 1) + v``. MACD is
EMA(12) - EMA(26), where TA-Lib seeds the fast average with the 12 closes that end with the slow one's 26th; its
signal is the EMA(9) of it.

State of one average, from offset ``o``: ``| values | average, their sum while seeding |``.
State of MACD: its fast average, then its signal; the slow one is ema_26.
"""

from __future__ import annotations

from transforms.kernel import Vector, jit

SIZE = 2
MACD_SIZE = 2 * SIZE
FAST, SLOW, SIGNAL = 12, 26, 9


@jit
def step(state: Vector, o: int, n: int, x: float) -> None:
    """Fold ``x`` into the average of period ``n``."""
    values = int(state[o]) + 1
    state[o] = float(values)
    if values <= n:
        state[o + 1] += x
        if values == n:
            state[o + 1] /= n
    else:
        state[o + 1] = (x - state[o + 1]) * (2.0 / (n + 1)) + state[o + 1]


@jit
def step_macd(state: Vector, o: int, slow: int, close: float) -> None:
    """Fold in a close, after ema_26 at offset ``slow`` has it."""
    bars = int(state[slow])
    if bars > SLOW - FAST:
        step(state, o, FAST, close)
    if bars >= SLOW:
        step(state, o + SIZE, SIGNAL, state[o + 1] - state[slow + 1])


@jit
def macd(state: Vector, o: int, slow: int) -> float:
    """EMA(12) - EMA(26), from 26 bars on."""
    return float(state[o + 1] - state[slow + 1])


@jit
def macd_signal(state: Vector, o: int) -> float:
    """EMA(9) of macd, from 34 bars on."""
    return float(state[o + SIZE + 1])
