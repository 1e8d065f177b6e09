"""One-minute bars of trades: the open bar, and when it is over.

The bar of minute ``b`` holds the trades of ``((b - 1) min, b min]``. A minute without a trade makes no bar: the indicators go from bar to
bar, as TA-Lib and the charts of exchanges do.

State, from offset ``o``: ``| minute of the open bar, 0 where none is open | open | high | low | close |``

>>> from transforms.kernel import zeros
>>> bar = zeros(SIZE)
>>> for price in (100.0, 102.0, 99.0, 101.0):
...     add(bar, 0, 7, price)
>>> [float(bar[i]) for i in (OPEN, HIGH, LOW, CLOSE)], over(bar, 0, 6), over(bar, 0, 7)
([100.0, 102.0, 99.0, 101.0], False, True)
"""

from __future__ import annotations

from transforms.kernel import Vector, jit

READY = 250
"""Bars that a recursive indicator needs; by then RSI has forgotten how it started, to within 1e-6."""

MINUTE, OPEN, HIGH, LOW, CLOSE, SIZE = range(6)


@jit
def add(state: Vector, o: int, minute: int, price: float) -> None:
    """Fold a trade into the open bar, or open one; a bar of an earlier minute must have been closed."""
    if state[o + MINUTE] == 0.0:
        state[o + MINUTE] = float(minute)
        state[o + OPEN] = price
        state[o + HIGH] = price
        state[o + LOW] = price
    elif price > state[o + HIGH]:
        state[o + HIGH] = price
    elif price < state[o + LOW]:
        state[o + LOW] = price
    state[o + CLOSE] = price


@jit
def over(state: Vector, o: int, minute: int) -> bool:
    """Return whether a bar is open that ``minute``, or one before it, has ended."""
    return bool(0.0 < state[o + MINUTE] <= minute)
