"""The row of one key that holds at each moment."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NONE: Final = -1
"""The position of no row."""

_Ints = NDArray[np.int64]


def latest(moment: _Ints, event: _Ints, created: _Ints | None, ttl: int, *, known: bool) -> _Ints:
    """Return the position of the row of one key that holds at each moment, `NONE` where no row holds.

    That is the row with the latest ``event <= moment`` and, of several such rows, the latest ``created``.

    Parameters
    ----------
    moment : numpy.ndarray
        (m,) of the look-ups, in any order.
    event, created : numpy.ndarray
        (n,) of the rows, sorted by event, then created. ``created`` is needed where `known`.
    ttl : int
        Oldest age that still holds, in the unit of the times; 0 for any.
    known : bool
        Leave out rows with ``created > moment``.

    Examples
    --------
    >>> latest(np.array([20, 31]), np.array([10, 20]), np.array([15, 25]), 11, known=True).tolist()
    [0, 1]
    """
    if not len(event) or not len(moment):
        return np.full(len(moment), NONE, np.int64)
    at = np.searchsorted(event, moment, side="right") - 1
    if known and created is None:
        raise ValueError("known rows need their created times")
    if known and created is not None and (created[at] > moment)[at >= 0].any():
        # A row is available from the later of its two times on. Of the rows available, the last in order holds: in
        # order of availability that is a running maximum of positions.
        available = np.maximum(event, created)
        if (available[1:] >= available[:-1]).all():
            at = np.searchsorted(available, moment, side="right") - 1
        else:
            order = np.argsort(available, kind="stable")
            count = np.searchsorted(available[order], moment, side="right")
            at = np.append(np.maximum.accumulate(order), NONE)[count - 1]
    return np.where((at >= 0) & (event[at] >= moment - ttl), at, NONE) if ttl else at
