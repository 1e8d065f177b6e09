"""Volume by rows of price: its mode (``poc``) and the 70 % area around it (``value_area_low``, ``value_area_high``; Steidlmayer).

A table of 1024 rows, about 10 % of the price at 1 bp a row. It is moved when the price leaves it and the traded range still fits. When
the range does not fit, rows are merged in pairs, ``2r`` and ``2r + 1`` to ``r``, and the height is doubled. Both are exact, because lots
are whole numbers.

State, from offset ``o``: ``| height: num, den | row of slot 0 | lowest, highest row traded | mode | 1024 rows of lots ...``

Example: Rows of 1 with 1, 6, 2, 1 lots from 100 up. The mode is row 101 with 6 of 10. The two rows above hold 3, more than the one
below, so the area grows by them to 9, more than 70 %:

>>> from transforms.kernel import zeros
>>> state = zeros(SIZE)
>>> reset(state, 0, 100.0, 1.0, 1.0)
>>> for price, lots in ((100.0, 1.0), (101.0, 6.0), (102.0, 2.0), (103.0, 1.0)):
...     add(state, 0, price, lots)
>>> float(poc(state, 0)), value_area(state, 0, 10.0)
(101.5, (101.0, 104.0))
"""

from __future__ import annotations

import math

from transforms.kernel import Vector, jit
from transforms.technical.price_grid import edge, row_of

ROWS = 1024
NUM, DEN, _BASE, _LOW, _HIGH, _MODE, _TABLE = range(7)
SIZE = _TABLE + ROWS


@jit
def reset(state: Vector, o: int, price: float, num: float, den: float) -> None:
    """Make an empty table of row height ``num/den`` around ``price``."""
    row = row_of(price, num, den)
    state[o + NUM] = num
    state[o + DEN] = den
    state[o + _BASE] = row - ROWS // 2
    state[o + _LOW] = row
    state[o + _HIGH] = row
    state[o + _MODE] = row
    for i in range(ROWS):
        state[o + _TABLE + i] = 0.0


@jit
def _move(state: Vector, o: int, base: float) -> None:
    """Make ``base`` the row of slot 0; every traded row must lie within the table before and after."""
    shift = int(base - state[o + _BASE])
    state[o + _BASE] = base
    for k in range(ROWS):
        i = k if shift > 0 else ROWS - 1 - k  # a slot is read before it is written
        j = i + shift
        state[o + _TABLE + i] = state[o + _TABLE + j] if 0 <= j < ROWS else 0.0


@jit
def _merge_pairs(state: Vector, o: int) -> None:
    """Merge rows in pairs, which doubles the height."""
    base = state[o + _BASE]
    half = math.floor(base / 2.0)
    odd = int(base - 2.0 * half)
    for i in range(ROWS):
        lots = state[o + _TABLE + i]
        state[o + _TABLE + i] = 0.0
        state[o + _TABLE + (i + odd) // 2] += lots
    state[o + NUM] *= 2.0
    state[o + _BASE] = float(half)
    state[o + _LOW] = float(math.floor(state[o + _LOW] / 2.0))
    state[o + _HIGH] = float(math.floor(state[o + _HIGH] / 2.0))
    mode = state[o + _LOW]
    most = -1.0
    for i in range(ROWS):
        if state[o + _TABLE + i] > most and state[o + _BASE] + i >= state[o + _LOW]:
            most = state[o + _TABLE + i]
            mode = state[o + _BASE] + i
    state[o + _MODE] = mode


@jit
def add(state: Vector, o: int, price: float, lots: float) -> None:
    """Fold in a trade."""
    row = row_of(price, state[o + NUM], state[o + DEN])
    while max(row, state[o + _HIGH]) - min(row, state[o + _LOW]) >= ROWS:
        _merge_pairs(state, o)
        row = float(math.floor(row / 2.0))
    low = min(row, state[o + _LOW])
    high = max(row, state[o + _HIGH])
    if low < state[o + _BASE] or high >= state[o + _BASE] + ROWS:
        _move(state, o, float(math.floor((low + high + 1.0) / 2.0)) - ROWS // 2)
    state[o + _LOW] = low
    state[o + _HIGH] = high
    at = o + _TABLE + int(row - state[o + _BASE])
    state[at] += lots
    most = state[o + _TABLE + int(state[o + _MODE] - state[o + _BASE])]
    if state[at] > most or (state[at] == most and row < state[o + _MODE]):
        state[o + _MODE] = row


@jit
def total(state: Vector, o: int) -> float:
    """Return the lots of all rows."""
    lots = 0.0
    for i in range(ROWS):
        lots += state[o + _TABLE + i]
    return lots


@jit
def poc(state: Vector, o: int) -> float:
    """Return the point of control, the middle of the row with the most volume; of equal rows, the lowest."""
    return float(edge(state[o + _MODE] + 0.5, state[o + NUM], state[o + DEN]))


@jit
def _pair(state: Vector, at: int, first: int, last: int, row: int) -> float:
    """Return the lots of ``row`` and the row above it, as far as they lie within ``first`` to ``last``; row 0 is at ``state[at]``."""
    lots = 0.0
    if first <= row <= last:
        lots += state[at + row]
    if first <= row + 1 <= last:
        lots += state[at + row + 1]
    return lots


@jit
def value_area(state: Vector, o: int, total: float) -> tuple[float, float]:
    """Return the edges of the rows that grow from the mode until they hold 70 % of ``total``, the lots of all rows.

    Each step adds the two rows above or the two below: those that hold more, of equals those above. Where the traded range ends on one
    side, the rows of the other side are added. A pair that reaches past the range is cut there.
    """
    at = o + _TABLE - int(state[o + _BASE])
    first = int(state[o + _LOW])
    last = int(state[o + _HIGH])
    low = int(state[o + _MODE])
    high = low
    held = state[at + low]
    above = _pair(state, at, first, last, high + 1)
    below = _pair(state, at, first, last, low - 2)
    while held * 10.0 < total * 7.0 and (low > first or high < last):
        if high < last and (above >= below or low <= first):
            held += above
            high = min(high + 2, last)
            above = _pair(state, at, first, last, high + 1)
        else:
            held += below
            low = max(low - 2, first)
            below = _pair(state, at, first, last, low - 2)
    num, den = state[o + NUM], state[o + DEN]
    return edge(float(low), num, den), edge(high + 1.0, num, den)
