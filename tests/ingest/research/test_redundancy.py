"""Clusters and kept ranks against pandas and by hand."""

import numpy as np
import pandas as pd
import pytest

from ingest.research.frame import Frame
from ingest.research.redundancy import autocorrelation, clusters, correlations
from tests.ingest.research.frames import SECOND, T0, frame


def test_correlations_are_spearmans() -> None:
    x = np.random.default_rng(1).normal(size=(200, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0], [0, 0.2, 1]])
    found = correlations(frame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2]}, {}))
    assert found == pytest.approx(pd.DataFrame(x).rank().corr().to_numpy(), abs=1e-12)


def test_levels_of_two_symbols_are_not_compared() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 2)) + np.repeat([[0, 0], [50, 50]], 200, axis=0)
    one = Frame((slice(0, 200), slice(200, 400)), np.tile(T0 + np.arange(200) * SECOND, 2), ("a", "b"), x, {}, SECOND)
    assert abs(correlations(one)[0, 1]) < 0.2


def test_clusters_join_by_their_mean() -> None:
    # 0 and 1 are joined first; the mean of 2 with both is 0.65
    likeness = np.array([[1, 0.9, 0.8, 0], [0.9, 1, 0.5, 0], [0.8, 0.5, 1, np.nan], [0, 0, np.nan, 1]])
    assert clusters(likeness) == [[0, 1], [2], [3]]
    assert clusters(likeness, alike=0.65) == [[0, 1, 2], [3]]
    assert clusters(np.empty((0, 0))) == []


def test_kept_ranks_are_the_correlation_with_those_before() -> None:
    values = np.cumsum(np.random.default_rng(3).normal(size=300))
    rank = pd.Series(values).rank() - 150.5
    now, then = rank[5:].to_numpy(), rank[:-5].to_numpy()
    expected = (now @ then) / np.sqrt((now @ now) * (then @ then))
    assert autocorrelation(frame({"a": values}, {}), 5 * SECOND)[0] == pytest.approx(expected, abs=1e-12)
