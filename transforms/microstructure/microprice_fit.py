"""Fit the table of ``microprice`` from the past, after Stoikov 2018.

Books are states of a Markov chain: an imbalance bin and a spread bin (see ``microprice``). From a state, the next book either leaves
the mid where it is (``Q``: the probability of each next state), or moves it by ``dM`` ticks into some state (``R``). The mean of the
first move is ``G1 = (I - Q)^-1 E[dM]``. It ends in each state with the probabilities ``B = (I - Q)^-1 R``. All moves together are

    g = G1 + B G1 + B^2 G1 + ...

As in the paper, every transition is counted a second time as its mirror image, with bid and ask exchanged. So a market that rose while
it was observed does not teach the table that markets rise; and the sum converges, to a ``g`` that changes sign with the imbalance.
``g`` is null for a state that was left too rarely, from which no move was reached, or whose sum has no limit.

Source: Stoikov 2018, "The micro-price: a high-frequency estimator of future prices", sections 3 and 4.

Example: Every other book has the imbalance 0. After one of 0.5 the mid rises by a tick of 2, after one of -0.5 it falls by a tick:

>>> mids, imbalances = np.tile([100.0, 100.0, 102.0, 102.0], 250), np.tile([0.0, 0.5, 0.0, -0.5], 250)
>>> fit = Fit(tick=2.0, before_us=1000)
>>> fit.add(np.arange(1000), mids, imbalances, np.full(1000, 2.0))
>>> g = fit.table()[2:].reshape(IMBALANCE_BINS, SPREAD_BINS)
>>> [float(g[imbalance_bin(x), 0]) for x in (0.5, 0.0, -0.5)]
[1.0, 0.0, -1.0]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transforms.kernel import jit
from transforms.microstructure.layout import G_SIZE, IMBALANCE_BINS, SPREAD_BINS
from transforms.microstructure.microprice import imbalance_bin, spread_bin

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STATES = G_SIZE
_MIRROR = np.arange(_STATES).reshape(IMBALANCE_BINS, SPREAD_BINS)[::-1].ravel()
_DOUBLINGS = 20
"""The sum looks 2**20 moves ahead; real chains settle within ten doublings."""
_SETTLED = 1e-9


class Fit:
    """Transitions of books, counted piece by piece, so that months of history need no more memory than a day.

    Parameters
    ----------
    tick : float
        Price step, quote units.
    before_us : int
        Books from this time on are not used, and the table is not used for a row before it. It is the version of the table.
    max_step_us : int or None
        Two books farther apart than this are not counted as a transition, because books between them may be missing. None sets no
        limit.

    Attributes
    ----------
    books : int
        Known books used so far.

    Raises
    ------
    ValueError
        The tick is not positive.
    """

    def __init__(self, tick: float, before_us: int, max_step_us: int | None = None) -> None:
        if not (np.isfinite(tick) and tick > 0):
            raise ValueError(f"a tick must be positive, not {tick}")
        self.books = 0  # known books used so far
        self._tick = tick
        self._before_us = before_us
        self._max_step_us = max_step_us
        self._stay, self._move, self._moved = np.zeros((3, _STATES, _STATES))
        self._last: tuple[Ints, Ints, Floats] = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)

    def add(self, times_us: Ints, mid: Floats, imbalance: Floats, spread: Floats) -> None:
        """Count the next books.

        Parameters
        ----------
        times_us, mid, imbalance, spread : ndarray
            One value a book, in time order: its event time (µs), and its features ``mid_price``, ``imbalance_l1`` and ``spread``. A
            book with a NaN is unknown (a gap): no transition into or out of it is counted.

        Raises
        ------
        ValueError
            The arrays have different lengths, or times go back.
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
        """Add to the transitions without and with a move of the mid, and to the ticks moved, by state and next state."""
        known = (state[:-1] >= 0) & (state[1:] >= 0)
        if self._max_step_us is not None:
            known &= np.diff(times_us) <= self._max_step_us
        here, there = state[:-1][known], state[1:][known]
        ticks = np.round(2.0 * np.diff(mid_ticks)[known]) / 2.0  # a mid lies on half ticks; the rest is rounding
        np.add.at(self._stay, (here, there), ticks == 0.0)
        np.add.at(self._move, (here, there), ticks != 0.0)
        np.add.at(self._moved, (here, there), ticks)

    def table(self, min_count: int = 100) -> Floats:
        """Return the table of the books so far, for ``microprice.install``.

        Parameters
        ----------
        min_count : int
            A bin that was left fewer times than this, its mirror image included, gets no g: so few transitions say too little.

        Returns
        -------
        ndarray of shape (TABLE_SIZE,)
            ``before_us``, ``tick``, then g in ticks by imbalance bin and spread bin, NaN where unknown.
        """
        mirror = np.ix_(_MIRROR, _MIRROR)
        stay, move, moved = self._stay, self._move, self._moved
        g = _solve(stay + stay[mirror], move + move[mirror], moved - moved[mirror], min_count)
        return np.concatenate(([float(self._before_us), float(self._tick)], g))


@jit
def _bin_books(mid: Any, imbalance: Any, spread: Any, tick: float, state: Any) -> None:
    """Write the state of each book, -1 where it is unknown."""
    for i in range(len(state)):
        if mid[i] == mid[i] and imbalance[i] == imbalance[i] and spread[i] == spread[i]:
            state[i] = imbalance_bin(imbalance[i]) * SPREAD_BINS + spread_bin(spread[i], tick)
        else:
            state[i] = -1


def _solvable(stay: Floats, move: Floats) -> NDArray[np.bool_]:
    """Return the states from which a move of the mid is reached by transitions among such states alone."""
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
    """Return g of every state, in ticks; NaN where it has none or the state was left fewer than ``min_count`` times."""
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
    for _ in range(_DOUBLINGS):  # the sum of the first 2n terms is the sum of n terms plus B^n times that sum
        expected = _antisymmetric(expected + ahead @ expected, mirror)
        ahead = ahead @ ahead
    known = (np.abs(ahead @ first) < _SETTLED) & (total[:, 0] >= min_count)
    g[alive] = np.where(known, expected, np.nan)
    return g


def _antisymmetric(g: Floats, mirror: Ints) -> Floats:
    """Return ``g`` made equal to its mirror image: differences left by rounding would grow with every doubling."""
    return (g - g[mirror]) / 2.0
