"""Features that say the same: clusters by rank correlation."""

from __future__ import annotations

from typing import Final

import numpy as np

from ingest.research.frame import Floats, Frame
from ingest.research.ranks import centred_ranks

ALIKE: Final = 0.7
"""Mean size of the rank correlation of two clusters' features at which the clusters are joined."""


def correlations(frame: Frame) -> Floats:
    """Return the rank correlation of each pair of features, of shape (k, k).

    Values are ranked within each symbol among those that are known. A pair is compared where both are known; NaN where
    one is constant.
    """
    k = len(frame.names)
    products, squares = np.zeros((k, k)), np.zeros((k, k))
    for rows in frame.symbols:
        ranked = np.column_stack([centred_ranks(column) for column in frame.x[rows].T])
        known = (~np.isnan(frame.x[rows])).astype(np.float64)
        products += ranked.T @ ranked
        squares += (ranked * ranked).T @ known
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = products / np.sqrt(squares * squares.T)
    return np.clip(found, -1.0, 1.0)


def clusters(correlation: Floats, alike: float = ALIKE) -> list[list[int]]:
    """Join the two most alike clusters, by the mean size of their features' correlations, until no two are alike
    enough.

    This is average linkage (Sokal and Michener 1958). A pair of unknown correlation counts as 0. The clusters and their
    features are in the order of the features.

    >>> clusters(np.array([[1.0, 0.1, -0.9], [0.1, 1.0, 0.2], [-0.9, 0.2, 1.0]]))
    [[0, 2], [1]]
    """
    size = np.nan_to_num(np.abs(correlation))
    found = [[i] for i in range(len(size))]
    likeness = size.copy()
    np.fill_diagonal(likeness, -1.0)
    while len(found) > 1:
        a, b = divmod(int(likeness.argmax()), len(found))
        if likeness[a, b] < alike:
            break
        m, n = len(found[a]), len(found[b])
        joined = (m * likeness[a] + n * likeness[b]) / (m + n)
        likeness[a], likeness[:, a] = joined, joined
        likeness[a, a] = -1.0
        likeness = np.delete(np.delete(likeness, b, 0), b, 1)
        found[a] += found.pop(b)
    return sorted(sorted(cluster) for cluster in found)


def autocorrelation(frame: Frame, lag: int) -> Floats:
    """Return the correlation of each feature's rank with its rank `lag` microseconds before, of shape (k,).

    Near 1 a position that follows the feature is kept, near 0 it is turned over within this time.
    """
    before = frame.at(-lag)
    sums = np.zeros((3, len(frame.names)))
    for i, values in enumerate(frame.x.T):
        ranked = np.concatenate([centred_ranks(values[rows]) for rows in frame.symbols])
        both = ~np.isnan(values) & (before >= 0)
        both[both] = ~np.isnan(values[before[both]])
        now, then = ranked[both], ranked[before[both]]
        sums[:, i] = now @ then, now @ now, then @ then
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[0] / np.sqrt(sums[1] * sums[2]), np.float64)
