"""The as-of join on sorted columns: for each moment, the latest row that was there and was known. Pure numpy."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NONE: Final = -1

_Ints = NDArray[np.int64]


def latest(moment: _Ints, event: _Ints, created: _Ints | None, ttl: int, *, known: bool) -> _Ints:
    """Position of the row of one key that holds at each moment.

    That is the row with the latest ``event <= moment`` and, of several such, the latest ``created``; no older than `ttl`
    (inclusive).

    Parameters
    ----------
    moment
        (m,) of the look-ups, in any order.
    event, created
        (n,) of the rows, sorted by event, then created. ``created`` is needed where `known`.
    ttl
        Oldest age, 0 for any; in the unit of the times.
    known
        Leave out rows with ``created > moment``.

    Returns
    -------
    numpy.ndarray
        (m,) positions, `NONE` where no row holds.

    Examples
    --------
    >>> latest(np.array([20, 31]), np.array([10, 20]), np.array([15, 25]), 11, known=True).tolist()
    [0, 1]
    """
    if not len(event) or not len(moment):
        return np.full(len(moment), NONE, np.int64)
    at = np.searchsorted(event, moment, side="right") - 1
    if known:
        if created is None:
            raise ValueError("known rows cannot be told without their created times")
        at = _known(at, moment, created)
    if ttl:
        at = np.where((at >= 0) & (event[at] >= moment - ttl), at, NONE)
    return at


def _known(at: _Ints, moment: _Ints, created: _Ints) -> _Ints:
    """Step back from `at` to the last row created by `moment`; `NONE` where there is none.

    A minimum tree over `created` skips any number of late rows in a logarithm of steps: history that was backfilled
    days later would otherwise be walked row by row.
    """
    at = at.copy()
    late = np.flatnonzero(at >= 0)
    late = late[created[at[late]] > moment[late]]
    if not len(late):
        return at
    levels = _minimum_tree(created)
    node, level = at[late], np.zeros(len(late), np.int64)
    limit = moment[late]
    # Up: from a node without a known row to the one before it, or to the parent where that one's parent is the same.
    active = np.arange(len(late))
    found = np.full(len(late), NONE, np.int64)
    for height, minimum in enumerate(levels):
        odd = node[active] & 1 == 1
        before = np.where(odd, node[active] - 1, node[active])
        hit = odd & (minimum[before] <= limit[active])
        found[active[hit]] = before[hit]
        level[active[hit]] = height
        active = active[~hit]
        if not len(active):
            break
        node[active] >>= 1
    # Down: of the two halves, the later one that has a known row.
    for height in range(len(levels) - 1, 0, -1):
        inside = np.flatnonzero((found >= 0) & (level == height))
        if not len(inside):
            continue
        minimum = levels[height - 1]
        right = found[inside] * 2 + 1
        there = right < len(minimum)
        there &= minimum[np.where(there, right, 0)] <= limit[inside]
        found[inside] = np.where(there, right, found[inside] * 2)
        level[inside] = height - 1
    at[late] = found
    return at


def _minimum_tree(values: _Ints) -> list[_Ints]:
    """Minima of runs of 1, 2, 4 ... values."""
    levels = [values]
    while len(levels[-1]) > 1:
        below = levels[-1]
        if len(below) & 1:
            below = np.append(below, np.iinfo(np.int64).max)
        levels.append(np.minimum(below[::2], below[1::2]))
    return levels
