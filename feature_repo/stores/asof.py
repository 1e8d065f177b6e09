"""The as-of join on sorted columns: for each moment, the latest row that was there and was known. Pure numpy."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NONE: Final = -1

_Ints = NDArray[np.int64]


def latest(
    key: _Ints, moment: _Ints, row_key: _Ints, row_event: _Ints, row_created: _Ints | None, ttl: int, *, known: bool
) -> _Ints:
    """Position of the row that holds at each moment.

    That is the row of the same key with the latest ``row_event <= moment`` and, of several such, the latest
    ``row_created``; no older than `ttl` (inclusive).

    Parameters
    ----------
    key, moment
        (m,) of the look-ups, in any order.
    row_key, row_event, row_created
        (n,) sorted by key, then event, then created. ``row_created`` is needed where `known`.
    ttl
        Oldest age, 0 for any; in the unit of the times.
    known
        Leave out rows with ``row_created > moment``.

    Returns
    -------
    numpy.ndarray
        (m,) positions, `NONE` where no row holds.

    Examples
    --------
    >>> zeros = np.zeros(2, np.int64)
    >>> times = np.array([10, 20])
    >>> latest(zeros, np.array([20, 31]), zeros, times, np.array([15, 25]), 11, known=True).tolist()
    [0, 1]
    """
    if not len(row_key) or not len(key):
        return np.full(len(key), NONE, np.int64)
    rows, asked = _one_axis(row_key, row_event, key, moment)
    at = np.searchsorted(rows, asked, side="right") - 1
    begin = np.searchsorted(row_key, key, side="left")
    if known:
        if row_created is None:
            raise ValueError("known rows cannot be told without row_created")
        at = _known(at, begin, moment, row_created)
    found = at >= begin
    if ttl:
        found &= row_event[np.where(found, at, 0)] >= moment - ttl
    return np.where(found, at, NONE)


def _one_axis(row_key: _Ints, row_event: _Ints, key: _Ints, moment: _Ints) -> tuple[_Ints, _Ints]:
    """Key and time as one number, so that one search serves all keys."""
    low = min(int(row_event.min()), int(moment.min()))
    span = max(int(row_event.max()), int(moment.max())) - low + 1
    if span * (max(int(row_key.max()), int(key.max())) + 1) < 2**63:
        return row_key * span + (row_event - low), key * span + (moment - low)
    ranks = np.unique(np.concatenate((row_event, moment)))
    return (
        row_key * len(ranks) + np.searchsorted(ranks, row_event),
        key * len(ranks) + np.searchsorted(ranks, moment),
    )


def _known(at: _Ints, begin: _Ints, moment: _Ints, created: _Ints) -> _Ints:
    """Step back from `at` to the last row created by `moment`; before `begin` where there is none.

    A minimum tree over `created` skips any number of late rows in a logarithm of steps: history that was backfilled
    days later would otherwise be walked row by row.
    """
    at = at.copy()
    late = np.flatnonzero(at >= begin)
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
