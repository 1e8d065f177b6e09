"""What goes with what in the path of a price: a feature's changes, what is new in it, and the returns before and after.

Used by ``lookahead``, which says what is read from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from ingest.research.frame import Floats, Frame, Ints, taken
from ingest.research.ranks import centred_ranks

PARTS: Final = 10
FITTED: Final = 2000
"""Rows for which the causes of a feature's changes are fitted at a time."""
ALONE_MAX: Final = 20_000
"""Rows whose returns do not overlap: more tell nothing more."""
_LAGS: Final = 25


@dataclass(frozen=True, slots=True)
class Profile:
    """How changes over a horizon go with returns before, around and after a row.

    Attributes
    ----------
    lags : ndarray of shape (m,)
        When each return begins, in microseconds after the row; it is known at the row up to minus the horizon.
    whole : ndarray of shape (m, k)
        Rank correlations over the frame.
    parts : ndarray of shape (parts, m, k)
        The same, in each of `PARTS` parts of its time.
    """

    lags: Ints
    whole: Floats
    parts: Floats


def changes_of(frame: Frame, horizon: int) -> Floats:
    """Return how much each feature changed over the horizon before each row, of shape (n, k)."""
    before = frame.at(-horizon)
    return np.column_stack([column - taken(column, before) for column in frame.x.T])


def news_of(frame: Frame, price: Floats) -> Floats:
    """Return what of each feature's change from row to row its past and the price do not explain, of shape (n, k);
    NaN where unknown."""
    one, two, three = (frame.at(-i * frame.step_us) for i in (1, 2, 3))
    paths = [taken(price, at) for at in (one, two, three)]
    moves = [price - paths[0], paths[0] - paths[1], paths[1] - paths[2]]
    found = np.full(frame.x.shape, np.nan)
    for i, values in enumerate(frame.x.T):
        before, last = taken(values, one), taken(values, two)
        change = values - before
        causes = np.column_stack([before, before - last, price, *moves])
        known = ~(np.isnan(change) | np.isnan(causes).any(axis=1))
        for symbol in frame.symbols:
            rows = np.flatnonzero(known[symbol]) + symbol.start
            for part in np.array_split(rows, max(1, len(rows) // FITTED)):
                found[part, i] = _left(causes[part], change[part])
    return found


def _left(causes: Floats, effect: Floats) -> Floats:
    """Return the residuals of least squares with a constant; NaN where the effect is constant or there are few rows."""
    if len(effect) < 50 or effect.min() == effect.max():
        return np.full(len(effect), np.nan)
    x = causes - causes.mean(axis=0)
    scale = np.sqrt((x * x).mean(axis=0))
    x = x[:, scale > 0] / scale[scale > 0]
    y = effect - effect.mean()
    left = y - x @ np.linalg.lstsq(x, y, rcond=1e-12)[0]
    # Where all is explained, what is left is rounding.
    return left if float(np.abs(left).max()) > 1e-9 * float(np.abs(y).max()) else np.full(len(y), np.nan)


def alone(frame: Frame, horizon: int) -> list[Ints]:
    """Return rows of each symbol whose returns do not overlap: the first of each horizon's length, or some of these."""
    found = []
    for rows in frame.symbols:
        number = frame.t_us[rows] // max(horizon, frame.step_us)
        first = np.flatnonzero(np.r_[True, np.diff(number) != 0]) + rows.start
        apart = np.r_[True, np.diff(frame.t_us[first]) >= horizon]  # a hole may put two such rows side by side
        found.append(first[apart])
    every = max(1, sum(map(len, found)) // ALONE_MAX)
    return [rows[::every] for rows in found]


def chatterjee(x: Floats, y: Floats, seed: int = 0) -> float:
    """Return Chatterjee's coefficient: 1 where y is a function of x, near 0 where they are independent. Equal x are in
    random order.

    >>> x = np.arange(-50.0, 50.0)
    >>> round(chatterjee(x, x**2), 2), abs(chatterjee(x, np.random.default_rng(1).normal(size=100))) < 0.2
    (0.94, True)
    """
    order = np.lexsort((np.random.default_rng(seed).random(len(x)), x))
    n = len(x)
    up = np.sort(y)
    at_most = np.searchsorted(up, y, "right")[order]
    at_least = n - np.searchsorted(up, y, "left")
    spread = 2.0 * float((at_least * (n - at_least)).sum())
    return 1.0 - n * float(np.abs(np.diff(at_most)).sum()) / spread if spread else math.nan


def profile(frame: Frame, changes: Floats, returns: Floats, lags: Ints) -> Profile:
    """Return the rank correlations of changes with returns that begin at some lags."""
    ranked = np.column_stack([_ranked(frame, column) for column in changes.T])
    known = (~np.isnan(changes)).astype(np.float64)
    after = _ranked(frame, returns)
    part = _parts(frame)
    order = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[order], np.arange(PARTS + 1))
    ranked, known = ranked[order], known[order]
    squares = ranked * ranked
    sums = np.zeros((3, PARTS, len(lags), changes.shape[1]))
    for j, lag in enumerate(lags):
        at = frame.at(int(lag))[order]
        there = ~np.isnan(taken(returns, at))
        y = np.where(there, after[at], 0.0)
        for p in range(PARTS):
            rows = slice(bounds[p], bounds[p + 1])
            own = y[rows]
            sums[0, p, j] = own @ ranked[rows]
            sums[1, p, j] = (own * own) @ known[rows]
            sums[2, p, j] = there[rows].astype(np.float64) @ squares[rows]
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = sums[0] / np.sqrt(sums[1] * sums[2])
        total = sums.sum(axis=1)
        whole = total[0] / np.sqrt(total[1] * total[2])
    return Profile(lags, whole, parts)


def lags_of(horizon: int, step: int) -> Ints:
    """Return lags from -2 to 1 horizons in whole steps, with all near the lag at which a return ends at the row."""
    coarse = np.linspace(-2 * horizon, horizon, 3 * _LAGS + 1)
    near = -horizon + step * np.arange(-3, 4)
    lags = np.unique(np.r_[np.round(coarse / step).astype(np.int64) * step, near, -horizon])
    return np.asarray(lags[(lags >= -2 * horizon) & (lags <= max(horizon, 3 * step))], np.int64)


def _parts(frame: Frame) -> Ints:
    first, last = int(frame.t_us.min()), int(frame.t_us.max()) + 1
    return np.asarray((frame.t_us - first) * PARTS // (last - first), np.int64)


def _ranked(frame: Frame, values: Floats) -> Floats:
    """Return centred ranks within each symbol, 0 for nulls."""
    return np.concatenate([centred_ranks(values[rows]) for rows in frame.symbols])
