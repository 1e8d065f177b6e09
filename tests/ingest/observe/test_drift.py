"""The population stability index, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.tables import schema
from ingest.observe import drift
from transforms.catalog import VIEW

DAY_US = drift.DAY_US
START_US = 1_700_006_400_000_000


def test_a_reference_day_has_a_tenth_of_its_values_in_each_bin():
    known = drift.measure(np.arange(1.0, 101.0)[:, None])
    assert known.edges.tolist() == [[10, 20, 30, 40, 50, 60, 70, 80, 90]]
    assert known.shares.tolist() == [[0.1] * 10 + [0.0]]


def test_nulls_have_a_bin_of_their_own_and_a_feature_that_was_always_null_has_no_other():
    values = np.array([[1.0, math.nan]] * 6 + [[math.nan, math.nan]] * 2)
    known = drift.measure(values)
    assert known.shares[:, -1].tolist() == [0.25, 1.0]
    assert np.isnan(known.edges[1]).all()
    now = drift.counts(np.array([[1.0, 5.0]] * 4), known.edges) / 4
    assert now[1].tolist() == [1.0] + [0.0] * 10


def test_the_index_is_the_sum_that_its_definition_says():
    expected = np.array([[0.1] * 10 + [0.0]])
    actual = np.array([[0.2] + [0.1] * 8 + [0.0, 0.1]])
    # bin 1: (0.2 - 0.1) ln 2 = 0.0693147; bin 10: (0.0001 - 0.1) ln 0.001 = 0.6900849;
    # null: (0.1 - 0.0001) ln 1000 = 0.6900849; the others none
    assert drift.psi(expected, actual)[0] == pytest.approx(0.0693147 + 2 * 0.6900849, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.floats(-1e9, 1e9), st.just(math.nan)), min_size=1, max_size=200))
def test_what_has_not_changed_has_an_index_of_zero_and_no_value_is_lost(values):
    column = np.array(values)[:, None]
    known = drift.measure(column)
    counted = drift.counts(column, known.edges)
    assert counted.sum() == len(values)
    assert drift.psi(known.shares, counted / len(values))[0] == pytest.approx(0.0, abs=1e-12)


def fill(connection, symbol, first_us, vpin, n=1440):
    minutes = first_us + np.arange(n) * 60_000_000
    values = np.full((n, len(VIEW["order_flow"].names)), np.nan)
    values[:, VIEW["order_flow"].index["vpin"]] = vpin
    append_rows(connection, VIEW["order_flow"], [symbol] * n, minutes, minutes, values)


@pytest.fixture
def database(postgres_url):
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        schema.migrate(connection, [schema.table_of_view(view) for view in VIEW.values()])
        yield connection


def test_each_symbol_is_held_against_itself_and_a_third_of_them_moving_is_seen(database, redis_client):
    even = np.arange(1440) % 90 / 90  # 90 values, 16 times each: nine values a bin
    levels = {"A": 0.0, "B": 1000.0, "C": -5.0}
    for symbol, level in levels.items():
        fill(database, symbol, START_US + 60_000_000, level + even)
    kept = drift.reference(database, list(levels), START_US, 1_000_000)
    drift.store(redis_client, kept)
    kept = drift.load(redis_client)
    assert kept is not None
    assert set(kept.views["order_flow"][1]) == set(levels)
    assert kept.views["technical"][1] == {}

    end_us = START_US + 3 * DAY_US
    for symbol, level in levels.items():
        fill(database, symbol, end_us - DAY_US + 60_000_000, level + even)
    assert drift.drift(database, kept, end_us, 1_000_000)["order_flow", "vpin"] == pytest.approx(0, abs=1e-9)

    later_us = end_us + 3 * DAY_US
    for symbol, level in levels.items():
        fill(database, symbol, later_us - DAY_US + 60_000_000, level + even + (2.0 if symbol == "C" else 0.0))
    # a bin holds a tenth; of C's third all has moved to the last one
    less, more = 0.1 * 2 / 3, 0.1 * 2 / 3 + 1 / 3
    by_hand = 9 * (less - 0.1) * math.log(less / 0.1) + (more - 0.1) * math.log(more / 0.1)
    found = drift.drift(database, kept, later_us, 1_000_000)
    assert found["order_flow", "vpin"] == pytest.approx(by_hand, rel=1e-6)
    assert found["order_flow", "cvd"] == pytest.approx(0, abs=1e-12)  # null then and now


def test_too_few_rows_are_no_reference_and_no_answer(database, redis_client):
    fill(database, "A", START_US + 60_000_000, 0.5, n=drift.LEAST - 1)
    kept = drift.reference(database, ["A"], START_US, 1_000_000)
    assert kept.views["order_flow"][1] == {}
    assert drift.drift(database, kept, START_US + DAY_US, 1_000_000) == {}
    assert drift.load(redis_client) is None


def test_of_several_rows_of_a_time_the_one_created_last_is_read_and_many_symbols_are_read_more_seldom(database):
    fill(database, "A", START_US + 60_000_000, 0.25)
    database.execute(
        "INSERT INTO order_flow (symbol, event_timestamp, created_timestamp, vpin) "
        "SELECT symbol, event_timestamp, created_timestamp + interval '1 s', 0.75 FROM order_flow"
    )
    rows = drift.read_rows(database, VIEW["order_flow"], ["A"], START_US, START_US + DAY_US, 1_000_000)["A"]
    assert len(rows) == 1440
    assert set(rows[:, VIEW["order_flow"].index["vpin"]]) == {0.75}
    names = ["A", *(f"S{i}" for i in range(99))]
    rows = drift.read_rows(database, VIEW["order_flow"], names, START_US, START_US + DAY_US, 7_000_000)["A"]
    # 1440 rows of 100 symbols are 7.2 times 20,000: every 7th minute, which is a whole number of 7 s
    assert len(rows) in (1440 // 7, 1440 // 7 + 1)
