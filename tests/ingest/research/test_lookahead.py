"""What looks into the future is found, and what looks back is not blamed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ingest.research import lookahead
from ingest.research.profiles import chatterjee
from tests.ingest.research.frames import AROUND, SECOND, Walk, frame

HORIZON = 60


def _back(walk: Walk) -> dict[str, np.ndarray]:
    """What a desk computes of the past, and a feature that does tell a little."""
    label = walk.coming(HORIZON)
    return {
        "mid_price": walk.price(),
        **{f"momentum_{s}": walk.past(s) for s in (1, 10, 60, 120)},
        "average": walk.average(0.1),
        "slow_average": walk.average(0.01),
        "gap": walk.price() - walk.average(0.1),
        "volatility": np.array([np.diff(walk.log[i - 60 : i]).std() for i in walk.at]),
        "told": walk.told[walk.at],
        "better_price": walk.price() + 0.004 * walk.told[walk.at],
        "clock": np.sin(np.arange(walk.rows) / 3000),
        "constant": np.ones(walk.rows),
        "noise": walk.noise(),
        "planted": label / label.std() * 0.2 + walk.noise(),
    }


def _ahead(walk: Walk) -> dict[str, np.ndarray]:
    label = walk.coming(HORIZON)
    return {
        "label": label,
        "label_and_noise": label / label.std() + 0.8 * walk.noise(),
        "direction": np.sign(label),
        "size": np.abs(label),
        "next_price": walk.price(later=1),
        "price_then": walk.price(later=HORIZON),
        "price_after": walk.price(later=HORIZON + 20),
        "next_momentum_1": walk.past(1, later=1),
        "next_momentum_10": walk.past(10, later=1),
        "next_average": walk.average(0.1, later=1),
        "slow_average_5": walk.average(0.01, later=5),
        "highest": np.array([walk.log[i : i + HORIZON + 1].max() for i in walk.at]) - walk.log[walk.at],
        "centred": np.array([walk.log[i - 30 : i + 31].mean() for i in walk.at]),
        "around": walk.past(60, later=30),
    }


@pytest.mark.parametrize("seed", range(2))
def test_each_feature_of_the_future_is_flagged_and_none_of_the_past(seed: int) -> None:
    walk = Walk(seed, 5000, told=0.3)
    back, ahead = _back(walk), _ahead(walk)
    found = lookahead.find(frame({**back, **ahead}, {HORIZON: walk.coming(HORIZON)}))
    assert set(found) == set(ahead)
    assert found["next_price"].ends_after == SECOND
    assert found["price_then"].ends_after == found["label"].ends_after == HORIZON * SECOND
    assert found["slow_average_5"].ends_after == 5 * SECOND
    assert [found[name].share for name in ("label", "price_then")] == pytest.approx([1, 1], abs=1e-3)


def test_without_the_price_what_is_near_the_label_is_still_found() -> None:
    walk = Walk(3, 5000, told=0.3)
    back, ahead = _back(walk), _ahead(walk)
    del back["mid_price"]
    found = lookahead.find(frame({**back, **ahead}, {HORIZON: walk.coming(HORIZON)}))
    assert {
        "label",
        "label_and_noise",
        "direction",
        "size",
        "next_price",
        "price_then",
        "price_after",
        "highest",
    } <= set(found)
    assert not set(found) & set(back)


def test_a_return_that_follows_the_last_one_is_no_future() -> None:
    """A market in which each return is mostly the last one again: its own change tells half of the coming one, and all of the past one."""
    walk = Walk(4, 4000)
    moves = walk.generator.standard_normal(walk.rows + 2 * AROUND)
    for i in range(1, len(moves)):
        moves[i] = 0.75 * moves[i - 1] + 0.66 * moves[i]
    walk.log = np.cumsum(moves) * 1e-4
    one = frame({"mid_price": walk.price(), "momentum": walk.past(1)}, {1: walk.coming(1)})
    assert lookahead.find(one) == {}


def test_few_rows_are_no_proof() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(15, 40))
    one = frame({f"f{i}": column for i, column in enumerate(x.T)}, {1: rng.normal(size=15)})
    assert lookahead.find(one) == {}


def test_chatterjees_coefficient_is_that_of_its_definition() -> None:
    """1 - n * sum |r(i+1) - r(i)| / (2 sum l(n - l)), counted one by one."""
    rng = np.random.default_rng(6)
    x, y = rng.permutation(60).astype(float), rng.integers(0, 9, 60).astype(float)
    ordered = y[np.argsort(x)]
    r = [sum(b <= a for b in y) for a in ordered]
    left = [sum(b >= a for b in y) for a in y]
    moved = sum(abs(a - b) for a, b in pairwise(r))
    assert chatterjee(x, y) == pytest.approx(1 - 60 * moved / (2 * sum(n * (60 - n) for n in left)))


def test_a_slow_feature_is_no_function_of_a_return_that_is_mostly_zero() -> None:
    """Rows of equal returns are compared in random order: in order of time a slow feature would seem to be one."""
    rng = np.random.default_rng(7)
    returns = np.where(rng.random(5000) < 0.9, 0.0, rng.normal(size=5000))
    assert abs(chatterjee(returns, np.arange(5000.0))) < 0.1
