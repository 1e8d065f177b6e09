"""Weights against the loops of the book's snippets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from feature_repo.training import weights


def samples(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bars at odd times, and labels that start at some of them and end at any time."""
    rng = np.random.default_rng(seed)
    bars = np.cumsum(rng.integers(1, 5, 80))
    start = np.sort(rng.choice(bars[:-1], 40, replace=False))
    return start, start + rng.integers(0, 30, 40), bars


@pytest.mark.parametrize("seed", range(10))
def test_concurrency_and_uniqueness_equal_the_snippets_of_the_book(seed: int) -> None:
    start, end, bars = samples(seed)
    count = pd.Series(0, index=bars)  # snippet 4.1
    for begin, until in zip(start, end, strict=True):
        count.loc[begin:until] += 1
    assert weights.concurrency(start, end, bars).tolist() == count.tolist()
    average = [(1.0 / count.loc[a:b]).mean() for a, b in zip(start, end, strict=True)]  # snippet 4.2
    assert weights.uniqueness(start, end, bars) == pytest.approx(average, rel=1e-12)
    shuffled = np.random.default_rng(seed).permutation(len(start))
    assert weights.uniqueness(start[shuffled], end[shuffled], bars) == pytest.approx(np.array(average)[shuffled])


@pytest.mark.parametrize("seed", range(10))
def test_weights_by_return_and_decay_equal_the_snippets_of_the_book(seed: int) -> None:
    start, end, bars = samples(seed)
    close = pd.Series(np.exp(np.random.default_rng(seed).normal(0, 0.01, len(bars)).cumsum()), index=bars)
    count = pd.Series(weights.concurrency(start, end, bars), index=bars)
    moved = np.log(close).diff()  # snippet 4.10
    weight = pd.Series([(moved.loc[a:b] / count.loc[a:b]).sum() for a, b in zip(start, end, strict=True)]).abs()
    weight *= len(weight) / weight.sum()
    assert weights.by_return(start, end, bars, close.to_numpy()) == pytest.approx(weight.to_numpy(), rel=1e-9)

    unique = pd.Series(weights.uniqueness(start, end, bars))
    for oldest in (1.0, 0.75, 0.5, 0.0, -0.25):  # snippet 4.11
        run = unique.cumsum()
        slope = (1.0 - oldest) / run.iloc[-1] if oldest >= 0 else 1.0 / ((oldest + 1) * run.iloc[-1])
        decayed = 1.0 - slope * run.iloc[-1] + slope * run
        decayed[decayed < 0] = 0
        assert weights.time_decay(unique.to_numpy(), oldest) == pytest.approx(decayed.to_numpy(), abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_a_uniqueness_is_the_same_to_the_bit_whatever_bars_are_before_it(seed: int) -> None:
    start, end, bars = samples(seed)
    whole = weights.uniqueness(start, end, bars)
    for first in range(1, len(bars) - 1, 7):
        # labels that overlap the ones that are asked for, and bars from where these begin
        given = end >= bars[first]
        asked = start[given] >= bars[first]
        cut = weights.uniqueness(start[given], end[given], bars[first:])[asked]
        assert cut.tobytes() == whole[given][asked].tobytes()


def test_a_label_that_is_alone_over_very_many_bars_has_uniqueness_one() -> None:
    assert weights.uniqueness(np.array([0]), np.array([2**20]), np.arange(2**20)).tolist() == [1.0]


def test_labels_without_an_overlap_are_unique_and_copies_share() -> None:
    bars = np.arange(10)
    assert weights.uniqueness(np.array([0, 3, 6]), np.array([2, 5, 8]), bars).tolist() == [1, 1, 1]
    assert weights.uniqueness(np.array([2, 2, 2, 2]), np.array([5, 5, 5, 5]), bars).tolist() == [0.25] * 4
    assert np.isnan(weights.uniqueness(np.array([20]), np.array([21]), bars)).all()
