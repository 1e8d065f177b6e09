"""Weights of samples whose labels overlap in time: an outcome that many labels share counts less in each.

Source: Lopez de Prado 2018, sections 4.3, 4.4, 4.6 and 4.7, snippets 4.1, 4.2, 4.10 and 4.11. ``bars`` are the times of the sampling grid
(the index of ``close`` in the book), and a label spans its start and its end, both included.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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

    ``bars`` are sorted. A label that spans no bar has NaN. The mean is the same to the bit whatever other bars there are: 1/concurrency is
    summed as a multiple of 2**-62, in whole numbers, because a running sum of doubles rounds by where it begins.

    >>> uniqueness(np.array([0, 1, 5]), np.array([2, 3, 5]), np.arange(6)).round(3).tolist()
    [0.667, 0.667, 1.0]
    """
    share = np.ldexp(1.0 / np.maximum(concurrency(start, end, bars), 1), 62).astype(np.int64)
    # In two halves, because the sum of more than one share may be beyond 64 bits.
    high, bars_spanned = _over_spans(share >> 31, start, end, bars)
    low, _ = _over_spans(share & (2**31 - 1), start, end, bars)
    total = np.ldexp(high.astype(np.float64), -31) + np.ldexp(low.astype(np.float64), -62)
    mean = total / np.maximum(bars_spanned, 1)
    return np.asarray(np.where(bars_spanned > 0, mean, np.nan), np.float64)


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
    attributed, bars_spanned = _over_spans(moved / np.maximum(count, 1), start, end, bars)
    weight = np.where(bars_spanned > 0, np.abs(attributed), np.nan)
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


def _over_spans(values: NDArray[Any], start: Ints, end: Ints, bars: Ints) -> tuple[NDArray[Any], Ints]:
    """Return the sum of the values of the bars in each span, and how many bars these are."""
    first = np.searchsorted(bars, start, side="left")
    behind = np.searchsorted(bars, end, side="right")
    running = np.concatenate([np.zeros(1, values.dtype), np.cumsum(values)])
    return running[behind] - running[first], behind - first
