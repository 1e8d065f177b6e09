"""``microprice``: the mid plus the move that is expected of it, given imbalance and spread: m + tick*g(imbalance bin, spread bin).

``g`` is a table of ticks that ``microprice_fit.Fit`` makes from the past. It stands in the state as ``TABLE_SIZE`` doubles::

    usable from, µs | tick | g: IMBALANCE_BINS rows of SPREAD_BINS

The first number is the end of the data that the table was fitted on, and serves as its version: the table is not used for a row
before that time. The imbalance bin divides ``imbalance_l1`` into 11 equal bins of [-1, 1]. The middle bin is centred on 0, so a book
and its mirror image fall into mirrored bins. The spread bin is the spread in ticks: 1, 2, 3, 4, and 5 or more.

Source: Stoikov 2018, "The micro-price: a high-frequency estimator of future prices".

Example: A table that expects a move of half a tick of 0.01 in every bin:

>>> from transforms.example import HandFeed
>>> feed = HandFeed()
>>> feed.microprice(0, tick=0.01, g=[0.5] * layout.G_SIZE)
>>> feed.book(0.5, bids=[(99.99, 3.0)], asks=[(100.01, 1.0)])
>>> feed.value("microprice", at=1)
100.005
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, isfinite

from transforms.catalog import MICROSTRUCTURE
from transforms.kernel import Vector, jit
from transforms.microstructure import layout
from transforms.microstructure.imbalance import share

MICROPRICE = MICROSTRUCTURE.index["microprice"]

_CENTRE = layout.IMBALANCE_BINS // 2
_MANY_TICKS = layout.SPREAD_BINS + 0.5


@jit
def imbalance_bin(imbalance: float) -> int:
    """Return the bin of an imbalance in [-1, 1]; that of ``-imbalance`` is its mirror image."""
    step = min(floor(abs(imbalance) * (layout.IMBALANCE_BINS / 2.0) + 0.5), _CENTRE)
    return _CENTRE + step if imbalance > 0.0 else _CENTRE - step


@jit
def spread_bin(spread: float, tick: float) -> int:
    """Return the bin of a spread: its nearest whole number of ticks, from 1 to ``SPREAD_BINS``, less one."""
    ticks = spread / tick
    if not ticks < _MANY_TICKS:  # so that a huge number of ticks is not converted to an integer, which would overflow
        return layout.SPREAD_BINS - 1
    return min(max(floor(ticks + 0.5), 1), layout.SPREAD_BINS) - 1


def install(state: Vector, table: Sequence[float]) -> None:
    """Put a fitted ``table`` into ``state`` in place of the one before.

    Raise ``ValueError`` if the table has the wrong length, or a tick that is not a positive number.
    """
    if len(table) != layout.TABLE_SIZE:
        raise ValueError(f"a microprice table has {layout.TABLE_SIZE} numbers, this one {len(table)}")
    if not (isfinite(table[layout.TABLE_TICK]) and table[layout.TABLE_TICK] > 0):
        raise ValueError(f"the tick of a microprice table must be positive, not {table[layout.TABLE_TICK]}")
    for i in range(layout.TABLE_SIZE):
        state[layout.TABLE + i] = float(table[i])


@jit
def emit_microprice(state: Vector, t_us: int, out: Vector, mid: float) -> None:
    """Write ``microprice`` from a valid book with the mid ``mid``."""
    tick = state[layout.TABLE + layout.TABLE_TICK]
    if tick > 0.0 and t_us >= state[layout.TABLE + layout.TABLE_FROM_US]:
        row = imbalance_bin(share(state[layout.BID_SIZE], state[layout.ASK_SIZE]))
        column = spread_bin(state[layout.ASK_PRICE] - state[layout.BID_PRICE], tick)
        out[MICROPRICE] = mid + tick * state[layout.TABLE + layout.TABLE_G + row * layout.SPREAD_BINS + column]
