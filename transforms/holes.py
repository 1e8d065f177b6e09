"""Holes in the trades: times at which trades may be missing, and which windows contain them.

A hole lasts from the last trade that is known before it until the first one that is known after it. Trades of both of these times may be
missing, because a venue gives many trades one time. A value over a window is null until the window contains no hole: the trades that
came are a part that looks like the whole. Values that go from trade to trade treat the first trade after a hole as one after a silence.

The kernels are told of a hole before the trades of its begin. So every hole they know has begun when they write a row, and one number
answers for all windows that end with the row: the end of the last hole. Windows that end earlier, such as those of whole minutes, may
end before the last hole began; then the end of the one before counts.

State, from offset ``o``: ``| begin and end of the last hole | end of the one before |``, µs, minus infinity where there was none. Holes
that overlap are one.

Example: A hole from 10 to 12 s, and one from 70 to 71 s. A minute that ends at 60 s contains the first, one that ends at 80 s the second:

>>> from transforms.kernel import zeros
>>> state = zeros(SIZE)
>>> init(state, 0)
>>> lose(state, 0, 10, 12)
>>> lose(state, 0, 70, 71)
>>> float(until(state, 0, 60)), float(until(state, 0, 80))
(12.0, 71.0)
"""

from __future__ import annotations

import math

from transforms.kernel import Vector, jit

SINCE, UNTIL, BEFORE, SIZE = range(4)


def init(state: Vector, o: int) -> None:
    """Start with no hole."""
    for i in range(SIZE):
        state[o + i] = -math.inf


@jit
def lose(state: Vector, o: int, since_us: int, until_us: float) -> None:
    """Keep a hole."""
    if since_us > state[o + UNTIL]:
        state[o + BEFORE] = state[o + UNTIL]
        state[o + SINCE] = float(since_us)
        state[o + UNTIL] = float(until_us)
        return
    state[o + SINCE] = min(state[o + SINCE], float(since_us))
    state[o + UNTIL] = max(state[o + UNTIL], float(until_us))


@jit
def until(state: Vector, o: int, end_us: int) -> float:
    """Return the end of the last hole that had begun at ``end_us``: a window ``(begin, end_us]`` is whole if its begin is not before."""
    return float(state[o + UNTIL] if state[o + SINCE] <= end_us else state[o + BEFORE])


@jit
def before_trade(state: Vector, o: int, t_us: int, newest_us: float) -> bool:
    """Return whether trades may be missing between the newest trade, of ``newest_us``, and one of ``t_us``."""
    end_us = state[o + UNTIL]
    return bool(newest_us <= end_us and (newest_us < end_us or t_us <= end_us))
