"""The prices of one symbol in order of time, with their holes, and what came first in them.

::

    price   x  x  x  .  .  x  x        a hole: no price for longer than the longest pause, an unknown one, or one that a feed told of
    part    0  0  0        1  1

A time is covered if it lies between two prices of one part, or at a price. What is not covered is in a hole, or before or after all prices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of one symbol, sorted by time; of several at one time the last counts.

    Attributes
    ----------
    t_us : numpy.ndarray
        (n,) times.
    entry : numpy.ndarray
        (n,) what one pays or gets who begins at that time.
    leave : numpy.ndarray
        (n,) what one gets or pays who ends then. Both are equal for mids and trades.
    part : numpy.ndarray
        (n,) the number of holes before.
    side : int
        1 where a rising price is a gain, -1 for one who is short.
    """

    t_us: Ints
    entry: Floats
    leave: Floats
    part: Ints
    side: int = 1

    def at(self, t_us: Ints) -> Ints:
        """Return the position of the newest price at each time, -1 where there is none."""
        return np.searchsorted(self.t_us, t_us, side="right") - 1

    def covers(self, at: Ints, t_us: Ints) -> Bools:
        """Return whether times are covered; ``at`` is what `at` gave for them."""
        if not len(self.t_us):
            return np.zeros(len(t_us), np.bool_)
        following = np.minimum(at + 1, len(self.t_us) - 1)
        inside = (at + 1 < len(self.t_us)) & (self.part[at] == self.part[following])
        return np.asarray((at >= 0) & (inside | (self.t_us[at] == t_us)))


def parts(t_us: Ints, known: Bools, longest_us: int, holes: Ints | None = None) -> Ints:
    """Return the number of holes before each price.

    Parameters
    ----------
    t_us : numpy.ndarray
        (n,) times, sorted.
    known : numpy.ndarray
        (n,) whether the price is known: one that is not is a hole.
    longest_us : int
        Prices that are further apart have a hole between them.
    holes : numpy.ndarray, optional
        (m, 2) begin and end of holes that a feed told of. There is a hole between prices of which the first is before the end and the
        second after the begin. At a begin or end itself some trades are known, and others of the same time may be missing.

    Examples
    --------
    >>> t_us = np.array([0, 1, 2, 9, 10])
    >>> parts(t_us, np.ones(5, bool), 5).tolist(), parts(t_us, t_us != 1, 9).tolist()
    ([0, 0, 0, 1, 1], [0, 1, 1, 1, 1])
    >>> parts(t_us, np.ones(5, bool), 9, np.array([[9, 10]])).tolist()
    [0, 0, 0, 0, 1]
    """
    breaks = np.zeros(len(t_us), np.int64)
    if len(t_us):
        breaks[1:] = np.diff(t_us) > longest_us
        breaks += ~known
        for begin, end in () if holes is None else holes.tolist():
            first = int(np.searchsorted(t_us, begin, side="right"))
            last = int(np.searchsorted(t_us, end, side="left"))
            breaks[first : last + 1] = 1
    return np.cumsum(breaks)


def first_above(values: Floats, begin: Ints, bound: Floats) -> Ints:
    """Return the first position at or after ``begin`` with ``values > bound``, ``len(values)`` where there is none.

    A pyramid of maxima is climbed until a block holds such a value, and descended to it: all positions at once, log(n) steps.

    Examples
    --------
    >>> first_above(np.array([1.0, 5.0, 2.0, 9.0]), np.array([0, 2, 0]), np.array([4.0, 4.0, 99.0])).tolist()
    [1, 3, 4]
    """
    n = len(values)
    size = 1 << n.bit_length()  # more than n: the element behind the last is above every bound
    base = np.full(size, np.inf)
    base[:n] = values
    levels = [base]
    while len(levels[-1]) > 1:
        levels.append(np.maximum(levels[-1][0::2], levels[-1][1::2]))
    bound = np.minimum(bound, np.finfo(np.float64).max)
    at = begin.astype(np.int64)
    height = np.full(len(at), -1)
    for level, maxima in enumerate(levels):
        looking = height < 0
        odd = looking & ((at & 1 == 1) | (level == len(levels) - 1))
        found = odd.copy()
        found[odd] = maxima[at[odd]] > bound[odd]
        height[found] = level
        looking &= ~found
        at[looking] = (at[looking] + 1) >> 1
    for level in range(len(levels) - 1, 0, -1):
        down = height >= level
        left = at[down] << 1
        at[down] = np.where(levels[level - 1][left] > bound[down], left, left + 1)
    return np.minimum(at, n)
