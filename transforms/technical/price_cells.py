"""Volume by every distinct price, in order, and how much of it lies at or below the last one.

A sorted array of (price, lots) with a finger at the last price's cell and the sum of lots up to it. The next trade
is near the last one, so the finger walks a few cells (2 on average on a busy market), and the sum, being of whole
lots, stays exact as it walks. A new price moves the cells above it up by one.

When the 3072 cells are full, prices are put into rows of a thousandth of the profile's row, doubled until half of
the cells are free. A cell then counts whole, its part above the last price included; a cell is at most 1/768 of the
session's range.

State, from offset ``o``::

    | cells | finger, -1 below all | lots up to it | row height: num (0 while exact), den | 3072 of (price or row, lots) ...
"""

from __future__ import annotations

import math

from transforms.kernel import Vector, jit
from transforms.technical.price_grid import row_of

CELLS = 3072
_COUNT, _FINGER, BELOW, _NUM, _DEN, _TABLE = 0, 1, 2, 3, 4, 5
SIZE = _TABLE + 2 * CELLS


@jit
def reset(state: Vector, o: int) -> None:
    """No cells."""
    for i in range(SIZE):
        state[o + i] = 0.0
    state[o + _FINGER] = -1.0


@jit
def _walk(state: Vector, o: int, key: float) -> int:
    """Put the finger on the last cell that is not above ``key``, and its sum right; -1 where all are above."""
    n = int(state[o + _COUNT])
    i = int(state[o + _FINGER])
    below = state[o + BELOW]
    t = o + _TABLE
    while i + 1 < n and state[t + 2 * i + 2] <= key:
        i += 1
        below += state[t + 2 * i + 1]
    while i >= 0 and state[t + 2 * i] > key:
        below -= state[t + 2 * i + 1]
        i -= 1
    state[o + _FINGER] = float(i)
    state[o + BELOW] = below
    return i


@jit
def add(state: Vector, o: int, price: float, lots: float, num: float, den: float) -> None:
    """Fold in a trade; ``num/den`` is the height of the profile's rows now, for when the cells run out."""
    key = price if state[o + _NUM] == 0.0 else row_of(price, state[o + _NUM], state[o + _DEN])
    i = _walk(state, o, key)
    n = int(state[o + _COUNT])
    at = o + _TABLE + 2 * i
    state[o + BELOW] += lots
    if i >= 0 and state[at] == key:
        state[at + 1] += lots
        return
    at += 2
    end = o + _TABLE + 2 * n
    state[at + 2 : end + 2] = state[at:end]
    state[at] = key
    state[at + 1] = lots
    state[o + _FINGER] = float(i + 1)
    state[o + _COUNT] = float(n + 1)
    if n + 1 == CELLS:
        _coarsen(state, o, num, den)


@jit
def _coarsen(state: Vector, o: int, num: float, den: float) -> None:
    """Put prices into rows that leave half of the cells free, under the finger as it was."""
    t = o + _TABLE
    n = int(state[o + _COUNT])
    finger = int(state[o + _FINGER])
    if state[o + _NUM] == 0.0:
        state[o + _NUM] = num
        state[o + _DEN] = den * 1000.0
        for i in range(n):
            state[t + 2 * i] = row_of(state[t + 2 * i], state[o + _NUM], state[o + _DEN])
    distinct = n
    while distinct > CELLS // 2:
        state[o + _NUM] *= 2.0
        distinct = 1
        state[t] = float(math.floor(state[t] / 2.0))
        for i in range(1, n):
            state[t + 2 * i] = float(math.floor(state[t + 2 * i] / 2.0))
            if state[t + 2 * i] != state[t + 2 * i - 2]:
                distinct += 1
    key = state[t + 2 * finger]
    last = 0
    for i in range(1, n):
        row = state[t + 2 * i]
        lots = state[t + 2 * i + 1]
        if row != state[t + 2 * last]:
            last += 1
            state[t + 2 * last] = row
            state[t + 2 * last + 1] = lots
        else:
            state[t + 2 * last + 1] += lots
    for i in range(last + 1, n):
        state[t + 2 * i] = 0.0
        state[t + 2 * i + 1] = 0.0
    state[o + _COUNT] = float(last + 1)
    state[o + _FINGER] = -1.0
    state[o + BELOW] = 0.0
    _walk(state, o, key)
