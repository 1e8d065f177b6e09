"""Splits that do not leak: against the rules of the book written out as loops, and snippet 7.3 itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from feature_repo.training.splits import PurgedKFold, PurgedWalkForward, SplitError

SECOND = 1_000_000


def spans(seed: int, n: int = 90, *, distinct: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Starts in any order, of two symbols at the same times unless they are to differ, and labels of up to 20 s."""
    rng = np.random.default_rng(seed)
    start = rng.choice(500, n, replace=False) if distinct else np.repeat(rng.choice(500, n // 2, replace=False), 2)
    start = rng.permutation(start) * SECOND
    return start, start + rng.integers(0, 20 * SECOND, n)


def snippet_7_3(t1: pd.Series, n_splits: int) -> list[tuple[list[int], list[int]]]:
    """Return the splits of the book's own code without embargo, whose unit is rows."""
    indices = np.arange(len(t1))
    found = []
    for part in np.array_split(indices, n_splits):
        i, j = part[0], part[-1] + 1
        train = t1.index.searchsorted(t1[t1 <= t1.index[i]].index)
        latest = t1.index.searchsorted(t1.iloc[i:j].max())
        if latest < len(t1):
            train = np.concatenate((train, indices[latest:]))
        found.append((train.tolist(), indices[i:j].tolist()))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_folds_equal_the_code_of_the_book(seed: int) -> None:
    start, end = spans(seed, distinct=True)
    order = np.argsort(start)
    start, end = start[order], end[order]
    mine = [(train.tolist(), test.tolist()) for train, test in PurgedKFold(5, start, end).split(np.zeros((90, 2)))]
    assert mine == snippet_7_3(pd.Series(end, index=start), 5)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("embargo_s", [0, 7])
def test_a_fold_trains_on_exactly_what_neither_overlaps_nor_follows_too_soon(seed: int, embargo_s: int) -> None:
    start, end = spans(seed)
    tested: list[int] = []
    for train, test in PurgedKFold(4, start, end, timedelta(seconds=embargo_s)).split():
        first, known = min(start[test]), max(end[test])
        allowed = [
            i
            for i in range(len(start))
            if i not in test and (end[i] <= first or start[i] >= known + embargo_s * SECOND)
        ]
        assert train.tolist() == allowed
        # no training label shares time with a test label, and no time is in two folds
        for i in train:
            assert all(end[i] <= start[j] or start[i] >= end[j] for j in test)
        assert not set(start[train]) & set(start[test])
        tested += test.tolist()
    assert sorted(tested) == list(range(len(start)))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("embargo_s", [0, 7])
def test_a_walk_forward_trains_only_on_what_was_known(seed: int, embargo_s: int) -> None:
    start, end = spans(seed)
    last = -1
    for train, test in PurgedWalkForward(4, start, end, timedelta(seconds=embargo_s)).split():
        first = min(start[test])
        assert train.tolist() == [
            i for i in range(len(start)) if end[i] <= first - embargo_s * SECOND and i not in test
        ]
        assert min(start[test]) > last
        last = max(start[test])
    assert last == max(start)


def test_a_splitter_is_used_as_those_of_scikit_learn() -> None:
    start = np.arange("2024-01-01", "2024-01-11", dtype="datetime64[D]")
    folds = PurgedKFold(5, start, start + np.timedelta64(2, "D"))
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10.0)
    assert folds.get_n_splits(x, y, None) == 5
    sizes = [(len(y[train]), len(x[test])) for train, test in folds.split(x, y, groups=None)]
    assert sizes == [(7, 2), (6, 2), (6, 2), (6, 2), (7, 2)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"end": [0, 1, 1]}, "before its sample"),
        ({"end": [1, 2]}, "one time for each"),
        ({"n_splits": 1}, "2 or more"),
        ({"n_splits": 4}, "as many different times"),
        ({"start": [0.0, 1.0, 2.0]}, "whole microseconds"),
        ({"embargo": timedelta(seconds=-1)}, "negative"),
    ],
)
def test_samples_that_cannot_be_split_are_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"n_splits": 3, "start": [0, 1, 2], "end": [1, 2, 3]}
    with pytest.raises(SplitError, match=message):
        PurgedKFold(**given | change)


def test_other_samples_than_those_with_times_are_refused() -> None:
    with pytest.raises(SplitError, match="4 samples"):
        next(PurgedKFold(3, [0, 1, 2], [1, 2, 3]).split(np.zeros((4, 1))))
    with pytest.raises(SplitError, match="too many samples have one time"):
        next(PurgedKFold(3, [0, 0, 0, 0, 0, 0, 1, 2], [9] * 8).split())
