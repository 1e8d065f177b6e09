"""The coefficients against pandas, and without bias where the textbook's has one."""

import numpy as np
import pandas as pd
import pytest

from ingest.research.frame import Frame
from ingest.research.information import HORIZONS, _causal, coefficients, period_of, summary
from ingest.research.ranks import ranks, spearman, z_of_t
from tests.ingest.research.frames import SECOND, T0, Walk, frame

DAY = 86_400 * SECOND


def test_ranks_are_those_of_pandas_with_ties() -> None:
    values = np.random.default_rng(1).integers(0, 20, 300).astype(float)
    assert ranks(values).tolist() == pd.Series(values).rank().tolist()
    assert spearman(values, values[::-1]) == pytest.approx(_pandas(values, values[::-1]), abs=1e-12)


def _pandas(a: np.ndarray, b: np.ndarray) -> float:
    return float(pd.Series(a).rank().corr(pd.Series(b).rank()))


def test_a_period_has_the_rank_correlation_of_its_rows_whose_return_ends_in_it() -> None:
    rng = np.random.default_rng(2)
    n, horizon, period = 300, 7 * SECOND, 100 * SECOND
    x, y = rng.normal(size=(2 * n, 2)), rng.normal(size=2 * n)
    x[rng.random(x.shape) < 0.2] = np.nan
    y[rng.random(2 * n) < 0.1] = np.nan
    times = np.tile(T0 + np.arange(n) * SECOND, 2)
    one = Frame((slice(0, n), slice(n, 2 * n)), times, ("a", "b"), x, {horizon: y}, SECOND)
    found = coefficients(one, horizon, period).textbook
    table = pd.DataFrame({"t": times, "symbol": ["A"] * n + ["B"] * n, "a": x[:, 0], "b": x[:, 1], "y": y})
    table["period"] = (table.t - T0) // period
    table = table[table.t + horizon <= T0 + (table.period + 1) * period]
    for number in range(3):
        for i, name in enumerate("ab"):
            parts = table[table.period == number].dropna(subset=[name, "y"]).groupby("symbol")
            values = [(_pandas(part[name], part.y), len(part)) for _, part in parts]
            expected = sum(v * w for v, w in values) / sum(w for _, w in values)
            assert found[number, i] == pytest.approx(expected, abs=1e-12)


def test_a_price_level_tells_nothing_of_a_random_walk_though_the_textbook_says_so() -> None:
    textbook, causal = [], []
    for seed in range(12):
        walk = Walk(seed, 6000)
        one = frame({"mid_price": walk.price()}, {10: walk.coming(10)})
        found = coefficients(one, 10 * SECOND, 600 * SECOND)
        textbook.append(summary(found.textbook[:, 0]).z)
        causal.append(summary(found.causal[:, 0]).z)
    assert np.mean(textbook) < -3, "centred in its period, a level falls after it was high"
    assert abs(np.mean(causal)) < 1  # of twelve values of a deviation of 1: 3.5 deviations
    assert np.max(np.abs(causal)) < 3.5


def test_the_normal_equivalent_of_t_is_that_of_tables() -> None:
    # Student's t and the normal quantile of the same two-sided probability: 0.05, 0.01 and 0.001 at 5, 10 and 30 degrees of freedom
    for t, n, z in ((2.5706, 5, 1.96), (3.1693, 10, 2.5758), (3.6460, 30, 3.2905)):
        assert z_of_t(t, n) == pytest.approx(z, abs=0.02)


@pytest.mark.parametrize(
    ("rows", "horizon", "seconds"),
    [
        (1199, 1, 60),
        (6000, 60, 300),
        (12 * 3600, 360, 1800),
        (25 * 86_400, 3600, 86_400),
        (6000, 61, 600),  # 300 s are shorter than five horizons
        (6000, 240, 300),  # of 30 minutes there are four, so nothing is decided
    ],
)
def test_the_period_is_the_longest_of_which_there_are_twenty_or_one_of_five_horizons(
    rows: int, horizon: int, seconds: int
) -> None:
    times = T0 + np.arange(0, rows, 1 if rows < 9999 else 600) * SECOND
    returns = {horizon * SECOND: np.zeros(len(times))}
    one = Frame((slice(0, len(times)),), times, ("a",), np.zeros((len(times), 1)), returns, SECOND)
    assert period_of(one) == seconds * SECOND


def test_in_periods_of_five_horizons_the_t_of_a_trend_is_as_rare_as_it_says_and_in_shorter_ones_it_is_not() -> None:
    """A feature that only rises has the coefficient of the returns alone: five periods of random walks, 8,000 times."""
    rng, horizon, wanted = np.random.default_rng(5), 20, 3.29  # a normal value that is passed once in 1,000
    passed = {}
    for horizons in (2, HORIZONS):
        log = np.cumsum(rng.standard_normal((40_000, 1 + horizons * horizon)), axis=1)
        returns = log[:, horizon:] - log[:, :-horizon]
        found = np.array([_causal(np.ones(len(row)), row) for row in returns]).reshape(-1, 5)
        passed[horizons] = sum(abs(summary(row).z) > wanted for row in found)
    assert passed[HORIZONS] <= 2.5 * 8
    assert passed[2] > 5 * 8
