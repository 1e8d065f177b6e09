"""``microprice``: the mid plus what the mid is expected to move, given imbalance and spread.

    microprice = m + tick*g(imbalance bin, spread bin)

``g`` is a table that ``microprice_fit.fit`` makes from the past, in ticks. It stands in the state as ``TABLE_SIZE``
doubles::

    usable from, µs | tick | g: IMBALANCE_BINS rows of SPREAD_BINS

The first number is the end of the data it was fitted on, and its version: the table is not used for a row before that
time. The imbalance bin is by ``imbalance_l1``, in 11 equal bins of [-1, 1], the middle one about 0, so that a book
and its mirror image fall into mirrored bins; the spread bin is the spread in ticks, 1 to 4, and 5 or more.

Null without a valid book, while no table is installed, before the table may be used, and in a bin that its data never
saw.

Source: Stoikov 2018, "The micro-price: a high-frequency estimator of future prices".
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, isfinite

from transforms.catalog import MICROSTRUCTURE
from transforms.kernel import Vector, jit
from transforms.microstructure.imbalance import share
from transforms.microstructure.layout import (
    ASK_PRICE,
    ASK_SIZE,
    BID_PRICE,
    BID_SIZE,
    IMBALANCE_BINS,
    SPREAD_BINS,
    TABLE,
    TABLE_SIZE,
)

MICROPRICE = MICROSTRUCTURE.index["microprice"]

_CENTRE = IMBALANCE_BINS // 2
_MANY_TICKS = SPREAD_BINS + 0.5


@jit
def imbalance_bin(imbalance: float) -> int:
    """Bin of an imbalance in [-1, 1]; that of ``-imbalance`` is its mirror image.

    >>> [int(imbalance_bin(x)) for x in (-1.0, -0.1, 0.0, 0.09, 0.1, 1.0)]
    [0, 4, 5, 5, 6, 10]
    """
    step = min(floor(abs(imbalance) * (IMBALANCE_BINS / 2.0) + 0.5), _CENTRE)
    return _CENTRE + step if imbalance > 0.0 else _CENTRE - step


@jit
def spread_bin(spread: float, tick: float) -> int:
    """Bin of a spread: its nearest whole number of ticks, from 1 to ``SPREAD_BINS``, less one.

    >>> [int(spread_bin(x, 0.01)) for x in (0.001, 0.01, 0.020000000002, 0.05, 7.0)]
    [0, 0, 1, 4, 4]
    """
    ticks = spread / tick
    if not ticks < _MANY_TICKS:  # before a conversion that a huge number of ticks would overflow
        return SPREAD_BINS - 1
    return min(max(floor(ticks + 0.5), 1), SPREAD_BINS) - 1


def install(state: Vector, table: Sequence[float]) -> None:
    """Put a fitted ``table`` into ``state``, in the place of the one before.

    Raises
    ------
    ValueError
        The table has another length, or no positive tick.
    """
    if len(table) != TABLE_SIZE:
        raise ValueError(f"a microprice table has {TABLE_SIZE} numbers, this one {len(table)}")
    if not (isfinite(table[1]) and table[1] > 0):
        raise ValueError(f"the tick of a microprice table must be positive, not {table[1]}")
    for i in range(TABLE_SIZE):
        state[TABLE + i] = float(table[i])


@jit
def emit_microprice(state: Vector, t_us: int, out: Vector, mid: float) -> None:
    """Write ``microprice`` from a valid book with the mid ``mid``."""
    tick = state[TABLE + 1]
    if tick > 0.0 and t_us >= state[TABLE]:
        row = imbalance_bin(share(state[BID_SIZE], state[ASK_SIZE]))
        column = spread_bin(state[ASK_PRICE] - state[BID_PRICE], tick)
        out[MICROPRICE] = mid + tick * state[TABLE + 2 + row * SPREAD_BINS + column]
