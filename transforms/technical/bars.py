"""One-minute bars of trades: the open bar, and when it is over.

The bar of minute ``b`` holds the trades of ``((b - 1) min, b min]`` and is over at ``b`` minutes. A minute without
a trade makes no bar: the indicators go from row to row, as TA-Lib and exchanges' own charts do.

State, from offset ``o``: ``| minute of the open bar, 0 none | open | high | low | close |``
"""

from __future__ import annotations

from transforms.kernel import Vector, jit

READY = 250
"""Bars before a recursive indicator is given; RSI forgets its seed to 1e-6 by then."""

MINUTE, OPEN, HIGH, LOW, CLOSE = 0, 1, 2, 3, 4
SIZE = 5


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
    """Whether there is an open bar and ``minute``, or a later one, has ended it."""
    return bool(0.0 < state[o + MINUTE] <= minute)
