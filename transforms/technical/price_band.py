"""Which trades enter the rows of the volume profile: one bad print must not make them coarse until the session ends.

A trade enters the rows if its price is at most 10 % beyond the prices that are in them. That far, rows of a basis point are doubled twice
at most. It is also about how far exchanges themselves let a price go before they halt it. A trade farther away is kept apart: it counts
for the session's volume, in a cell of its own, but in no row.

Markets do jump. Ten trades apart within 10 % of the first of them, with at most 100 other trades between two, are a new level: they enter
the rows, which then reach that far. If the rows had held fewer than ten trades by then, these were the bad prints: they are kept apart
instead, and the rows begin anew.

State, from offset ``o``::

    | lowest, highest price in the rows | trades in the rows | trades apart, their lots
    | prints of a possible new level | trades of the session at the newest of them | 10 prints: price, lots |

Example: Of prints at 100, 1000 and 101 the second is kept apart:

>>> from transforms.kernel import zeros
>>> state = zeros(SIZE + price_rows.SIZE)
>>> for trades, price in enumerate((100.0, 1000.0, 101.0), start=1):
...     add(state, 0, SIZE, price, 1.0, float(trades), 1.0, 1.0)
>>> float(state[LOTS_APART]), float(state[_LOW]), float(state[_HIGH])
(1.0, 100.0, 101.0)
"""

from __future__ import annotations

from transforms.kernel import Vector, jit
from transforms.technical import price_rows
from transforms.technical.price_grid import default_height

BAND = 1.1
PRINTS = 10
OTHERS = 100.0

_LOW, _HIGH, _TRADES, TRADES_APART, LOTS_APART, _PRINTS, _NEWEST, _TABLE = range(8)
_LOTS, _PRINT = 1, 2
"""A print is two slots: its price, then its lots."""
SIZE = _TABLE + _PRINT * PRINTS


@jit
def reset(state: Vector, o: int) -> None:
    """Forget every trade."""
    for i in range(SIZE):
        state[o + i] = 0.0


@jit
def add(state: Vector, o: int, rows: int, price: float, lots: float, trades: float, num: float, den: float) -> None:
    """Fold a trade into the rows at offset ``rows``, or keep it apart.

    ``trades`` is its number in the session, from 1 on; ``num/den`` the configured height of a row, ``num`` 0 if none is.
    """
    if state[o + _TRADES] == 0.0:
        _begin(state, o, rows, price, num, den)
    if price * BAND >= state[o + _LOW] and price <= state[o + _HIGH] * BAND:
        _enter(state, o, rows, price, lots)
        return
    first = state[o + _TABLE]
    n = int(state[o + _PRINTS])
    if price * BAND < first or price > first * BAND or trades - state[o + _NEWEST] > OTHERS + 1.0:
        n = 0
    at = o + _TABLE + _PRINT * n
    state[at] = price
    state[at + _LOTS] = lots
    state[o + _PRINTS] = n + 1.0
    state[o + _NEWEST] = trades
    state[o + TRADES_APART] += 1.0
    state[o + LOTS_APART] += lots
    if n + 1 == PRINTS:
        _accept_level(state, o, rows, num, den)


@jit
def _begin(state: Vector, o: int, rows: int, price: float, num: float, den: float) -> None:
    """Empty the rows, and begin them at ``price``."""
    if num == 0.0:
        num, den = default_height(price)
    price_rows.reset(state, rows, price, num, den)
    state[o + _LOW] = price
    state[o + _HIGH] = price
    state[o + _TRADES] = 0.0


@jit
def _enter(state: Vector, o: int, rows: int, price: float, lots: float) -> None:
    """Fold a trade into the rows."""
    state[o + _TRADES] += 1.0
    if price < state[o + _LOW]:
        state[o + _LOW] = price
    elif price > state[o + _HIGH]:
        state[o + _HIGH] = price
    price_rows.add(state, rows, price, lots)


@jit
def _accept_level(state: Vector, o: int, rows: int, num: float, den: float) -> None:
    """Let the prints of a new level enter the rows, in place of what these held if that is less."""
    if state[o + _TRADES] < PRINTS:
        state[o + TRADES_APART] += state[o + _TRADES]
        state[o + LOTS_APART] += price_rows.total(state, rows)
        _begin(state, o, rows, state[o + _TABLE], num, den)
    for i in range(PRINTS):
        at = o + _TABLE + _PRINT * i
        state[o + TRADES_APART] -= 1.0
        state[o + LOTS_APART] -= state[at + _LOTS]
        _enter(state, o, rows, state[at], state[at + _LOTS])
    state[o + _PRINTS] = 0.0
