"""Which of served and recomputed rows a join reads: look-ups, scans, ranges and the newest rows against a plain loop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psycopg
import pytest
from feast import FeatureStore, FeatureView
from feast.types import Float64

from feature_repo.stores.history import HistoryError, reading
from feature_repo.stores.offline.join import plan
from feature_repo.stores.timescale import TimescaleOfflineStore
from tests.feature_repo.stores.offline.two_views import T0, asked, at

TTL = 5
Row = tuple[str, float, float, float, bool]
"""Symbol, event second, created second, a value, and whether it was recomputed."""


@pytest.fixture
def one(view: Callable[..., FeatureView]) -> FeatureView:
    return view("one", TTL, {"a": Float64})


def write(connection: psycopg.Connection[Any], rows: Sequence[Row]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO one (symbol, event_timestamp, created_timestamp, a, recomputed) VALUES (%s, %s, %s, %s, %s)",
            [(s, at(event), at(created), a, recomputed) for s, event, created, a, recomputed in rows],
        )


def some_rows(seed: int = 7) -> list[Row]:
    """Event times with served rows, recomputed ones, both, none; made late or early; a served one may be corrected."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for symbol in ("P", "Q", "R"):  # P has both, Q was only served, R only recomputed
        for t in range(100, 300):
            if symbol != "R" and rng.random() < 0.6:
                made = sorted({t + float(late) for late in rng.choice([0, 1, 3, 30], rng.integers(1, 3))})
                rows += [(symbol, t, created, float(rng.normal()), False) for created in made]
            if symbol != "Q" and rng.random() < 0.6:
                rows.append((symbol, t, t + 1.0, float(rng.normal()), True))  # may have the key of a served one
    return rows


def counting(rows: Sequence[Row], history: str) -> dict[str, dict[float, list[Row]]]:
    """The rows that count, by symbol and event time, in the order of their creation."""
    every: defaultdict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row[2]):
        every[row[:2]].append(row)
    found: defaultdict[str, dict[float, list[Row]]] = defaultdict(dict)
    for (symbol, t), of_moment in every.items():
        found[symbol][t] = [row for row in of_moment if row[4] == (history == "recomputed")] or of_moment
    return found


def expected(rows: Sequence[Row], history: str, symbol: str, moment: float, *, known: bool) -> float | None:
    for t, of_moment in sorted(counting(rows, history)[symbol].items(), reverse=True):
        usable = [row for row in of_moment if not known or row[2] <= moment]
        if moment - TTL <= t <= moment and usable:
            return usable[-1][3]
    return None


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("history", ["served", "recomputed"])
def test_look_ups_and_scans_read_the_rows_that_a_plain_loop_reads(
    open_store: Callable[..., FeatureStore],
    database: psycopg.Connection[Any],
    one: FeatureView,
    monkeypatch: pytest.MonkeyPatch,
    history: str,
    known: bool,
) -> None:
    store = open_store(one, history=history)
    rows = some_rows()
    write(database, rows)
    rng = np.random.default_rng(1)
    spine = [(str(rng.choice(["P", "Q", "R", "S"])), float(t)) for t in rng.uniform(95, 340, 400).round(3)]
    spine += [("P", float(t)) for t in range(100, 310)]
    wanted = [expected(rows, history, *row, known=known) for row in spine]
    assert 100 < sum(value is not None for value in wanted) < len(wanted) - 50
    for packed, cells in ((1e12, 1), (-1e12, 10**6), (-1e12, 50)):  # look-ups, one scan, several scans
        monkeypatch.setattr(plan, "PACKED_COST", packed)
        monkeypatch.setattr(plan, "SLICE_CELLS", cells)
        job = store.get_historical_features(asked(*spine), ["one:a"], filter_by_created_timestamp=known)
        assert job.to_arrow().column("a").to_pylist() == wanted
    found = database.execute(job.to_sql()).fetchall()
    assert [row[-1] for row in found] == wanted, "the statement that `to_sql` gives reads the same"


@pytest.mark.parametrize("history", ["served", "recomputed"])
def test_ranges_and_the_newest_rows_are_of_the_history(
    open_store: Callable[..., FeatureStore], database: psycopg.Connection[Any], one: FeatureView, history: str
) -> None:
    store = open_store(one)
    rows = some_rows(8)
    write(database, rows)
    counted = counting(rows, history)
    every = [row for of_symbol in counted.values() for of_moment in of_symbol.values() for row in of_moment]
    period = {"start_date": T0, "end_date": at(1000)}
    with reading(history):
        ranged = store.get_historical_features(None, ["one:a"], **period)
        where = (store.config, one.batch_source, ["symbol"], ["a"], "event_timestamp", "created_timestamp")
        newest = TimescaleOfflineStore.pull_latest_from_table_or_query(*where, *period.values())
        pulled = TimescaleOfflineStore.pull_all_from_table_or_query(*where, *period.values())
    assert sorted(ranged.to_arrow().column("a").to_pylist()) == sorted(row[3] for row in every)
    assert sorted(pulled.to_arrow().column("a").to_pylist()) == sorted(row[3] for row in every)
    last = {symbol: of_symbol[max(of_symbol)][-1][3] for symbol, of_symbol in counted.items()}
    found = newest.to_arrow()
    assert dict(zip(found.column("symbol").to_pylist(), found.column("a").to_pylist(), strict=True)) == last


def test_a_served_row_that_came_late_still_keeps_the_recomputed_one_out(
    open_store: Callable[..., FeatureStore], database: psycopg.Connection[Any], one: FeatureView
) -> None:
    store = open_store(one)
    write(database, [("P", 99, 99, 1.0, False), ("P", 100, 130, 2.0, False), ("P", 100, 101, 3.0, True)])

    def at_102() -> list[float | None]:
        frame = asked(("P", 102.0))
        job = store.get_historical_features(frame, ["one:a"], filter_by_created_timestamp=True)
        values: list[float | None] = job.to_arrow().column("a").to_pylist()
        return values

    assert at_102() == [1.0], "at 102 a model was fed the row of 99"
    with reading("recomputed"):
        assert at_102() == [3.0]
        with reading("served"):
            assert at_102() == [1.0]
        assert at_102() == [3.0]
    assert at_102() == [1.0]


def test_an_unknown_history_is_refused(open_store: Callable[..., FeatureStore], one: FeatureView) -> None:
    with pytest.raises(HistoryError, match="'best' is no history; choose served or recomputed"), reading("best"):
        pass
    with pytest.raises(Exception, match="Input should be 'served' or 'recomputed'"):
        open_store(one, history="best")
