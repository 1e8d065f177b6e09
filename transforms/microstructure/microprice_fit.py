"""Fits the table of ``microprice`` from the past, after Stoikov 2018.

Books are states: an imbalance bin and a spread bin (see ``microprice``). From a state the next book either leaves the
mid (``Q``, the chance of each next state), or moves it, by ``dM`` ticks into some state (``R``). The mean of the
first move to come is ``G1 = (I - Q)^-1 E[dM]``, the state it ends in has the chances ``B = (I - Q)^-1 R``, and all
that is still to come is

    g = G1 + B G1 + B^2 G1 + ...

Every transition counts once more as its mirror image (bid and ask changed over), as in the paper: a market that rose
while it was watched does not teach the table that markets rise, and the sum converges, to a ``g`` that changes sign
with the imbalance. A state that was hardly ever left, from which no move was reached, or whose sum has no limit, has
a null ``g``.

Source: Stoikov 2018, "The micro-price: a high-frequency estimator of future prices", sections 3 and 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transforms.kernel import jit
from transforms.microstructure.layout import IMBALANCE_BINS, SPREAD_BINS
from transforms.microstructure.microprice import imbalance_bin, spread_bin

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STATES = IMBALANCE_BINS * SPREAD_BINS
_MIRROR = np.arange(_STATES).reshape(IMBALANCE_BINS, SPREAD_BINS)[::-1].ravel()
_DOUBLINGS = 20
"""2**20 moves ahead; real chains settle within ten."""
_SETTLED = 1e-9


class Fit:
    """Transitions of books, counted piece by piece: months of history need no more memory than a day.

    Parameters
    ----------
    tick:
        Price step, quote units.
    before_us:
        Books from here on are not looked at, and the table is not used for a row before here.
    max_step_us:
        Between books farther apart than this something is missing, and no transition is counted; None sets no limit.

    Attributes
    ----------
    books:
        Known books looked at so far.

    Raises
    ------
    ValueError
        The tick is not positive.
    """

    def __init__(self, tick: float, before_us: int, max_step_us: int | None = None) -> None:
        if not (np.isfinite(tick) and tick > 0):
            raise ValueError(f"a tick must be positive, not {tick}")
        self.books = 0
        self._tick = tick
        self._before_us = before_us
        self._max_step_us = max_step_us
        self._stay, self._move, self._moved = np.zeros((3, _STATES, _STATES))
        self._last: tuple[Ints, Ints, Floats] = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)

    def add(self, times_us: Ints, mid: Floats, imbalance: Floats, spread: Floats) -> None:
        """Take the next books; arrays as of ``fit``.

        Raises
        ------
        ValueError
            Arrays of different lengths, or times out of order.
        """
        if not len(times_us) == len(mid) == len(imbalance) == len(spread):
            raise ValueError("times_us, mid, imbalance and spread must be of one length")
        before, state_before, mid_before = self._last
        times = np.concatenate((before, times_us))
        if np.any(np.diff(times) < 0):
            raise ValueError("times_us must not go back")
        n = int(np.searchsorted(times_us, self._before_us, side="left"))
        mids = np.asarray(mid[:n], float)
        state = np.empty(n, dtype=np.int64)
        _bin_books(mids, np.asarray(imbalance[:n], float), np.asarray(spread[:n], float), self._tick, state)
        self.books += int(np.count_nonzero(state >= 0))
        times = times[: len(before) + n]
        state = np.concatenate((state_before, state))
        mid_ticks = np.concatenate((mid_before, mids / self._tick))
        self._count(times, state, mid_ticks)
        self._last = times[-1:], state[-1:], mid_ticks[-1:]

    def _count(self, times_us: Ints, state: Ints, mid_ticks: Floats) -> None:
        """Transitions without and with a move of the mid, and the ticks moved, by state and next state."""
        known = (state[:-1] >= 0) & (state[1:] >= 0)
        if self._max_step_us is not None:
            known &= np.diff(times_us) <= self._max_step_us
        here, there = state[:-1][known], state[1:][known]
        ticks = np.round(2.0 * np.diff(mid_ticks)[known]) / 2.0  # a mid stands on half ticks; the rest is rounding
        np.add.at(self._stay, (here, there), ticks == 0.0)
        np.add.at(self._move, (here, there), ticks != 0.0)
        np.add.at(self._moved, (here, there), ticks)

    def table(self, min_count: int = 100) -> Floats:
        """The table of the books so far, as ``fit`` returns it."""
        mirror = np.ix_(_MIRROR, _MIRROR)
        stay, move, moved = self._stay, self._move, self._moved
        g = _solve(stay + stay[mirror], move + move[mirror], moved - moved[mirror], min_count)
        return np.concatenate(([float(self._before_us), float(self._tick)], g))


def fit(
    times_us: Ints,
    mid: Floats,
    imbalance: Floats,
    spread: Floats,
    tick: float,
    before_us: int,
    *,
    min_count: int = 100,
) -> Floats:
    """Table for ``microprice.install``, from the books strictly before ``before_us``.

    Parameters
    ----------
    times_us, mid, imbalance, spread:
        One value a book, in time order: its event time (µs), and its features ``mid_price``, ``imbalance_l1`` and
        ``spread``. A book with a NaN in it is unknown (a gap): no transition into or out of it is counted.
    tick:
        Price step, quote units.
    before_us:
        Books from here on are not looked at, and the table is not used for a row before here: the table's version.
    min_count:
        A bin left fewer times than this, its mirror image counted with it, gets no g: it would be an anecdote.

    Returns
    -------
    ndarray of shape (TABLE_SIZE,)
        ``before_us``, ``tick``, then g in ticks by imbalance bin and spread bin, NaN where unknown.

    Raises
    ------
    ValueError
        Arrays of different lengths, times out of order, or a tick that is not positive.
    """
    counted = Fit(tick, before_us)
    counted.add(times_us, mid, imbalance, spread)
    return counted.table(min_count)


@jit
def _bin_books(mid: Any, imbalance: Any, spread: Any, tick: float, state: Any) -> None:
    """State of each book, -1 where it is unknown."""
    for i in range(len(state)):
        if mid[i] == mid[i] and imbalance[i] == imbalance[i] and spread[i] == spread[i]:
            state[i] = imbalance_bin(imbalance[i]) * SPREAD_BINS + spread_bin(spread[i], tick)
        else:
            state[i] = -1


def _solvable(stay: Floats, move: Floats) -> NDArray[np.bool_]:
    """States from which a move of the mid is reached, by transitions among states of this kind alone."""
    alive = np.ones(_STATES, dtype=bool)
    while True:
        reaches = np.zeros(_STATES, dtype=bool)
        frontier = (move[:, alive].sum(axis=1) > 0) & alive
        while frontier.any():
            reaches |= frontier
            frontier = (stay[:, reaches].sum(axis=1) > 0) & alive & ~reaches
        if np.array_equal(reaches, alive):
            return alive
        alive = reaches


def _solve(stay: Floats, move: Floats, moved: Floats, min_count: int) -> Floats:
    """g of every state, in ticks; NaN where it has none or was left fewer than ``min_count`` times."""
    g = np.full(_STATES, np.nan)
    alive = np.flatnonzero(_solvable(stay, move))
    if len(alive) == 0:
        return g
    inside = np.ix_(alive, alive)
    total = (stay[inside] + move[inside]).sum(axis=1, keepdims=True)
    mirror = np.searchsorted(alive, _MIRROR[alive])
    leave = np.eye(len(alive)) - stay[inside] / total
    first = _antisymmetric(np.linalg.solve(leave, moved[inside].sum(axis=1) / total[:, 0]), mirror)
    ahead = np.linalg.solve(leave, move[inside] / total)
    expected = first
    for _ in range(_DOUBLINGS):  # the sum of the first 2n terms is that of n, and B^n times it
        expected = _antisymmetric(expected + ahead @ expected, mirror)
        ahead = ahead @ ahead
    known = (np.abs(ahead @ first) < _SETTLED) & (total[:, 0] >= min_count)
    g[alive] = np.where(known, expected, np.nan)
    return g


def _antisymmetric(g: Floats, mirror: Ints) -> Floats:
    """``g`` without the rounding that makes it differ from its mirror image, and would grow with every doubling."""
    return (g - g[mirror]) / 2.0
