"""Weights of samples whose labels overlap in time: an outcome that many labels share counts less in each.

Source: Lopez de Prado 2018, sections 4.3, 4.4, 4.6 and 4.7, snippets 4.1, 4.2, 4.10 and 4.11. ``bars`` are the times of the sampling grid
(the index of ``close`` in the book), and a label spans its start and its end, both included.
"""

from __future__ import annotations

import numpy as np

from feature_repo.training.prices import Floats, Ints


def concurrency(start: Ints, end: Ints, bars: Ints) -> Ints:
    """Return how many labels span each bar (snippet 4.1). Labels may be in any order.

    >>> concurrency(np.array([0, 1, 5]), np.array([2, 3, 5]), np.arange(6)).tolist()
    [1, 2, 2, 1, 0, 1]
    """
    begun = np.searchsorted(np.sort(start), bars, side="right")
    return np.asarray(begun - np.searchsorted(np.sort(end), bars, side="left"), np.int64)


def uniqueness(start: Ints, end: Ints, bars: Ints) -> Floats:
    """Return the average uniqueness of each label (snippet 4.2): the mean of 1/concurrency over the bars that it spans.

    ``bars`` are sorted. A label that spans no bar has NaN.

    >>> uniqueness(np.array([0, 1, 5]), np.array([2, 3, 5]), np.arange(6)).round(3).tolist()
    [0.667, 0.667, 1.0]
    """
    count = concurrency(start, end, bars)
    return _over_spans(1.0 / np.maximum(count, 1), start, end, bars, mean=True)


def by_return(start: Ints, end: Ints, bars: Ints, close: Floats) -> Floats:
    """Return weights by attributed return (snippet 4.10): ``abs(sum of r/concurrency)``, scaled so that their mean is 1.

    ``r`` is the log return from the bar before, ``close`` the price of each bar; the return of the first bar is unknown and counts as 0.

    >>> weights = by_return(np.array([0, 2]), np.array([2, 3]), np.arange(4), np.exp([0.0, 0.1, 0.3, 0.4]))
    >>> weights.round(6).tolist()
    [1.0, 1.0]
    """
    count = concurrency(start, end, bars)
    moved = np.zeros(len(bars))
    moved[1:] = np.diff(np.log(close))
    weight = np.abs(_over_spans(moved / np.maximum(count, 1), start, end, bars, mean=False))
    return np.asarray(weight * len(weight) / weight.sum(), np.float64)


def time_decay(unique: Floats, oldest: float) -> Floats:
    """Return factors that decay linearly in cumulative uniqueness, oldest sample first (snippet 4.11).

    The newest sample has 1. ``oldest`` is the factor at the start: 1 is no decay; below 0, the share ``-oldest`` of the start has 0.

    >>> time_decay(np.ones(4), 0.5).tolist(), time_decay(np.ones(4), -0.5).tolist()
    ([0.625, 0.75, 0.875, 1.0], [0.0, 0.0, 0.5, 1.0])
    """
    run = np.cumsum(unique)
    slope = (1.0 - oldest) / run[-1] if oldest >= 0 else 1.0 / ((oldest + 1.0) * run[-1])
    return np.asarray(np.maximum(1.0 - slope * run[-1] + slope * run, 0.0), np.float64)


def _over_spans(values: Floats, start: Ints, end: Ints, bars: Ints, *, mean: bool) -> Floats:
    """Return the sum or the mean of the values of the bars in each span."""
    first = np.searchsorted(bars, start, side="left")
    behind = np.searchsorted(bars, end, side="right")
    running = np.concatenate([[0.0], np.cumsum(values)])
    sums = running[behind] - running[first]
    n = behind - first
    sums[n <= 0] = np.nan
    return np.asarray(sums / np.maximum(n, 1) if mean else sums, np.float64)
