"""Labels against a loop over every price, which follows the definition and shares no code with it."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise
from math import isnan, log, nan
from typing import Any

import numpy as np
import pytest

from feature_repo.training.definitions import (
    MISSING,
    PRICES,
    Barriers,
    ForwardReturn,
    Label,
    LabelError,
    label_of,
)
from feature_repo.training.labels import TOUCHES, Known, label, sign
from feature_repo.training.prices import Prices, first_above, parts
from tests.feature_repo.training import loops

SECOND = 1_000_000


def market(seed: int) -> list[loops.Row]:
    """A price that walks, with silences, unknown prices, and a spread."""
    rng = np.random.default_rng(seed)
    t_us = np.cumsum(rng.choice([250_000, SECOND, 2 * SECOND, 11 * SECOND], 120, p=[0.3, 0.5, 0.17, 0.03]))
    mid = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, 120)))
    mid[:-1][rng.random(119) < 0.04] = nan
    half = rng.random(120) * 0.05
    return list(zip(t_us.tolist(), (mid + half).tolist(), (mid - half).tolist(), strict=True))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    "definition",
    [
        ForwardReturn(timedelta(seconds=5)),
        ForwardReturn(timedelta(seconds=2), hole=timedelta(seconds=1)),
        Barriers(timedelta(seconds=20), profit=2, loss=1),
        Barriers(timedelta(seconds=8), profit=0, loss=1.5, at_time="zero"),
        Barriers(timedelta(seconds=15), profit=3, loss=0),
    ],
)
def test_labels_equal_a_loop_over_all_prices(definition: Label, side: int, seed: int) -> None:
    rows = market(seed)
    rng = np.random.default_rng(seed + 1000)
    t_us = np.sort(rng.integers(0, rows[-1][0] + SECOND, 150))
    t_us[::5] = [rows[i][0] for i in rng.integers(0, len(rows), 30)]  # at a price, too
    t_us = np.sort(np.append(t_us, rows[-1][0]))
    volatility = rng.choice([nan, 0.0, 1e-3, 2e-3], len(t_us), p=[0.05, 0.05, 0.5, 0.4])
    volatility[-2:] = 1e-3

    time, entry, leave = (np.array(column) for column in zip(*rows, strict=True))
    known = ~np.isnan(entry)
    part = parts(time, known, definition.longest_pause // timedelta(microseconds=1))
    prices = Prices(time[known], entry[known], leave[known], part[known], side)
    at = np.searchsorted(time, t_us, side="right") - 1
    base = np.where(at >= 0, entry[at], nan)
    found = label(definition, prices, Known(t_us, base, np.where(at >= 0, time[at], 0)), time[known][-1], volatility)
    values = sign(definition, found) if isinstance(definition, Barriers) else found.returns

    reasons = set()
    for i, t in enumerate(t_us.tolist()):
        value, came, end, touch, missing = loops.label(definition, rows, t, volatility[i], side)
        assert (None if found.missing[i] < 0 else MISSING[found.missing[i]]) == missing
        reasons.add(missing)
        if missing is None:
            assert found.returns[i] == pytest.approx(came, abs=1e-14)
            assert found.end_us[i] == end
            assert TOUCHES[found.touch[i]] == touch
            assert values[i] == (value if isinstance(definition, Barriers) else found.returns[i])
        else:
            assert isnan(found.returns[i])
            assert isnan(values[i])
    assert {None, "hole", "end"} <= reasons


def test_a_touch_before_a_hole_counts_and_one_behind_it_does_not() -> None:
    # seconds 0 to 3, a hole, then 60 to 90; one volatility is 1 %
    time = np.array([0, 1, 2, 3, *range(60, 91)]) * SECOND
    price = np.array([100.0, 100.5, 102.0, 100.0, *[90.0] * 31])
    prices = Prices(time, price, price, parts(time, price > 0, 10 * SECOND))
    definition = Barriers(timedelta(seconds=70), profit=1, loss=1)
    t_us = np.array([0, 2, 61]) * SECOND
    found = label(definition, prices, Known(t_us, price[prices.at(t_us)], t_us), int(time[-1]), np.full(3, 0.01))
    assert found.returns[0] == pytest.approx(log(102 / 100))
    assert found.end_us[0] == 2 * SECOND
    assert found.end_us[1] == 3 * SECOND  # from 102 to 100 is a loss beyond 1 %
    assert sign(definition, found)[:2].tolist() == [1.0, -1.0]
    assert [MISSING[m] if m >= 0 else None for m in found.missing] == [None, None, "end"]


def test_first_above_equals_a_search_from_left_to_right() -> None:
    rng = np.random.default_rng(3)
    for n in (0, 1, 2, 7, 8, 9, 40):
        values = rng.integers(0, 10, n).astype(float)
        begin, bound = rng.integers(0, n + 1, 50), rng.integers(-1, 11, 50).astype(float)
        bound[0] = np.inf
        found = first_above(values, begin, bound)
        assert found.tolist() == [
            next((j for j in range(b, n) if values[j] > x), n) for b, x in zip(begin, bound, strict=True)
        ]


def test_holes_that_a_feed_told_lie_between_the_prices_around_them() -> None:
    time = np.array([0, 1, 1, 2, 5, 5, 6, 9])
    for begin, end in ((1, 5), (5, 5), (0, 9), (2, 3), (9, 20), (-5, -1)):
        part = parts(time, np.ones(8, bool), 100, np.array([[begin, end]]))
        for (i, a), (j, b) in pairwise(enumerate(time.tolist())):
            # up to the first price at or after the end, trades may be missing before every price behind the begin
            is_hole = b > begin and a < end
            assert (part[j] > part[i]) == is_hole, (begin, end, a, b)


@pytest.mark.parametrize("price", PRICES)
def test_a_definition_goes_through_json(price: Any) -> None:
    for definition in (
        ForwardReturn(timedelta(milliseconds=1500), price),
        Barriers(timedelta(days=2), price, timedelta(seconds=3), 1.5, 0.0, "volatility_1m", "zero"),
    ):
        assert label_of(json.loads(json.dumps(definition.described()))) == definition


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "x"}, "kind: forward_return"),
        ({"price": "ask"}, "is no price"),
        ({"horizon_us": 999}, "a millisecond or more"),
        ({"horizon_us": None}, "no definition of barriers"),
        ({"hole_us": 0}, "longer than 0"),
        ({"profit": -1}, "profit and loss"),
        ({"loss": "1"}, "no definition of barriers"),
        ({"at_time": "half"}, "no label at the horizon"),
        ({"more": 1}, "no definition of barriers"),
    ],
)
def test_a_definition_that_is_none_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        label_of({**Barriers(timedelta(seconds=60)).described(), **change})
