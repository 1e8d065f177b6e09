"""A view is looked up or scanned, whichever the planner finds cheaper, and both give the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest
from feast import FeatureStore
from psycopg import sql

from feature_repo.stores.offline.binary.format import FLOAT8
from feature_repo.stores.offline.join import plan
from feature_repo.stores.offline.join.lookup import Lookup
from feature_repo.stores.offline.join.spine import Asked
from tests.feature_repo.stores.offline.two_views import FEATURES, asked, put


@pytest.mark.parametrize("known", [False, True])
def test_a_scan_in_slices_gives_what_look_ups_give(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    rng = np.random.default_rng(7)
    rows = [
        (s, t, t + float(rng.choice([0, 1, 9])), float(rng.normal()), int(rng.integers(9)))
        for s in ("P", "Q", "R")
        for t in range(100, 400)
    ]
    put(store, "quick", rows)
    put(store, "slow", [(s, t, c, a) for s, t, c, a, _ in rows if t % 50 == 0])
    frame = asked(*((str(rng.choice(["P", "Q", "S"])), float(t)) for t in rng.uniform(80, 420, 500).round(6)))
    results = []
    for packed, cells, stretch in ((1e12, 1, 10**9), (-1e12, 10**6, 10**9), (-1e12, 300, 10**9), (1e12, 1, 10**7)):
        monkeypatch.setattr(plan, "PACKED_COST", packed)
        monkeypatch.setattr(plan, "SLICE_CELLS", cells)
        monkeypatch.setattr(plan, "STRETCH_US", stretch)
        results.append(store.get_historical_features(frame, FEATURES, filter_by_created_timestamp=known).to_arrow())
    assert results[0].column("a").null_count < 400
    assert results[1] == results[0]
    assert results[2] == results[0]
    assert results[3] == results[0]


def of_moments(*us: int) -> Asked:
    moments = np.array(us, np.int64)
    return Asked((), np.arange(len(us)), moments, np.zeros(len(us), np.int64))


def test_a_slice_is_halved_by_time() -> None:
    first, second = plan.Scan(of_moments(0, 1, 2, 100), 100, 7).halves()
    assert (first.asked.moment.tolist(), second.asked.moment.tolist()) == ([0, 1, 2], [100])
    assert (first.span, first.limit, second.span) == (50, 7, 50)


def test_look_ups_of_a_long_time_are_asked_in_stretches() -> None:
    day = 86_400_000_000
    one, several = (
        plan.LookUp(of_moments(0, day, 5 * day)),
        plan.LookUp(of_moments(0, day, 5 * day + 1, 6 * day, 90 * day)),
    )
    assert list(one.stretches()) == [(0, 5 * day)]
    assert list(several.stretches()) == [(0, day), (5 * day + 1, 6 * day), (90 * day, 90 * day)]
    assert (plan.is_long(one.asked), plan.is_long(several.asked), plan.is_long(of_moments())) == (False, True, False)


def test_a_request_without_rows_needs_no_statement_and_few_rows_one_look_up(database: psycopg.Connection[Any]) -> None:
    lookup = Lookup(sql.Identifier("absent"), (), "t", "", 0, ("a",), ("a",), False)
    assert plan.choose(database, lookup, [FLOAT8], of_moments()) == []
    with database.transaction():
        (step,) = plan.choose(database, lookup, [FLOAT8], of_moments(1, 2, 3))
        assert isinstance(step, plan.LookUp)
        assert step.uploaded
        assert database.execute("SELECT n FROM pg_temp.asked ORDER BY 1").fetchall() == [(0,), (1,), (2,)]
