"""Volume by every distinct price, in order of price, and how much of it was traded at or below the last price.

A sorted array of cells (price, lots), with a finger on the last price's cell and the sum of lots up to it. The next trade is near the
last one, so the finger moves by a few cells (2 on average in a busy market). The sum stays exact while it moves, because lots are whole
numbers. A new price shifts the cells above it up by one.

When all 3072 cells are in use, prices are put into rows of a thousandth of the profile's row, and the height is doubled until half of
the cells are free. A cell then counts as a whole, with its part above the last price; a cell is at most 1/768 of the session's range.

State, from offset ``o``::

    | cells | finger, -1 below all | lots up to it | row height: num (0 while exact), den | 3072 cells of (price or row, lots) ...

Example: 2 at 100, 3 at 102, then 1 at 101: at or below 101 lie the 2 and the 1:

>>> from transforms.kernel import zeros
>>> state = zeros(SIZE)
>>> reset(state, 0)
>>> for price, lots in ((100.0, 2.0), (102.0, 3.0), (101.0, 1.0)):
...     add(state, 0, price, lots, 1.0, 1.0)
>>> float(state[BELOW])
3.0
"""

from __future__ import annotations

import math

from transforms.kernel import Vector, jit
from transforms.technical.price_grid import row_of

CELLS = 3072
_COUNT, _FINGER, BELOW, _NUM, _DEN, _TABLE = range(6)
_LOTS, _CELL = 1, 2
"""A cell is two slots: the key, which is a price or a row, then the lots."""
SIZE = _TABLE + _CELL * CELLS
FINER = 1000.0
"""Rows of the cells that make one row of the profile, when the cells run out for the first time."""


@jit
def reset(state: Vector, o: int) -> None:
    """Make a table without cells."""
    for i in range(SIZE):
        state[o + i] = 0.0
    state[o + _FINGER] = -1.0


@jit
def _walk(state: Vector, o: int, key: float) -> int:
    """Move the finger to the last cell that is not above ``key``, -1 where all are above, and the sum with it; return where it is."""
    n = int(state[o + _COUNT])
    i = int(state[o + _FINGER])
    below = state[o + BELOW]
    t = o + _TABLE
    while i + 1 < n and state[t + _CELL * (i + 1)] <= key:
        i += 1
        below += state[t + _CELL * i + _LOTS]
    while i >= 0 and state[t + _CELL * i] > key:
        below -= state[t + _CELL * i + _LOTS]
        i -= 1
    state[o + _FINGER] = float(i)
    state[o + BELOW] = below
    return i


@jit
def add(state: Vector, o: int, price: float, lots: float, num: float, den: float) -> None:
    """Fold in a trade; ``num/den`` is the present height of the profile's rows, used when the cells run out."""
    key = price if state[o + _NUM] == 0.0 else row_of(price, state[o + _NUM], state[o + _DEN])
    i = _walk(state, o, key)
    n = int(state[o + _COUNT])
    at = o + _TABLE + _CELL * i
    state[o + BELOW] += lots
    if i >= 0 and state[at] == key:
        state[at + _LOTS] += lots
        return
    at += _CELL
    end = o + _TABLE + _CELL * n
    state[at + _CELL : end + _CELL] = state[at:end]
    state[at] = key
    state[at + _LOTS] = lots
    state[o + _FINGER] = float(i + 1)
    state[o + _COUNT] = float(n + 1)
    if n + 1 == CELLS:
        _coarsen(state, o, num, den)


@jit
def _coarsen(state: Vector, o: int, num: float, den: float) -> None:
    """Put prices into rows that leave half of the cells free, and the finger on the row of its price."""
    t = o + _TABLE
    n = int(state[o + _COUNT])
    finger = int(state[o + _FINGER])
    if state[o + _NUM] == 0.0:
        state[o + _NUM] = num
        state[o + _DEN] = den * FINER
        for i in range(n):
            state[t + _CELL * i] = row_of(state[t + _CELL * i], state[o + _NUM], state[o + _DEN])
    distinct = n
    while distinct > CELLS // 2:
        state[o + _NUM] *= 2.0
        distinct = 1
        state[t] = float(math.floor(state[t] / 2.0))
        for i in range(1, n):
            state[t + _CELL * i] = float(math.floor(state[t + _CELL * i] / 2.0))
            if state[t + _CELL * i] != state[t + _CELL * (i - 1)]:
                distinct += 1
    key = state[t + _CELL * finger]
    last = 0
    for i in range(1, n):
        row = state[t + _CELL * i]
        lots = state[t + _CELL * i + _LOTS]
        if row != state[t + _CELL * last]:
            last += 1
            state[t + _CELL * last] = row
            state[t + _CELL * last + _LOTS] = lots
        else:
            state[t + _CELL * last + _LOTS] += lots
    for i in range(t + _CELL * (last + 1), t + _CELL * n):
        state[i] = 0.0
    state[o + _COUNT] = float(last + 1)
    state[o + _FINGER] = -1.0
    state[o + BELOW] = 0.0
    _walk(state, o, key)
