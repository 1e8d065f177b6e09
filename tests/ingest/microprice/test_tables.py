"""Fitted tables in the database: appended with a version, and read again with the same bits.

A fit reads only history that is over, and its table is used only for rows after that history.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest

from ingest.cli.arguments import moment
from ingest.microprice import tables
from transforms.times import datetime_of_ms

NOW = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)
BEFORE_MS = 1_700_000_000_000
G = [None if x < 0.1 else float(x) for x in np.random.default_rng(1).random(55)]
TABLE = np.array([0.0, 0.1, *(np.nan if g is None else g for g in G)])


@pytest.fixture
def connection(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        tables.prepare(connection)
        yield connection


def append(connection, symbol, usable_s):
    before = datetime_of_ms(BEFORE_MS)
    usable, now = (before + timedelta(seconds=s) for s in (usable_s, 20))
    return tables.append(connection, symbol, tables.Span(before, before, usable, now), TABLE, 5)


def test_stored_tables_come_back_in_the_order_of_use_with_the_same_bits(connection):
    stored = [append(connection, "A", usable_s) for usable_s in (10, 5, 10)]
    assert [one.version for one in stored] == [1, 2, 3]
    assert append(connection, "B", 10).version == 1
    found = tables.load(connection, ["A"])
    assert found["A"] == [stored[i].message() for i in (1, 0, 2)]
    assert all(t.g == G and t.tick == 0.1 and t.fitted_before == BEFORE_MS for t in found["A"])
    assert set(tables.load(connection)) == {"A", "B"}


def test_the_database_takes_no_table_that_would_know_its_future(connection):
    with pytest.raises(psycopg.errors.CheckViolation):
        append(connection, "A", -1)


def test_a_database_without_the_table_has_no_tables(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        assert tables.load(connection) == {}


def test_by_default_the_history_ends_today_and_the_table_is_used_from_the_next_midnight_on():
    span = tables.span_of(None, None, None, NOW)
    assert (span.before, span.usable_from) == (moment("2026-11-23"), moment("2026-11-24"))


@pytest.mark.parametrize(
    ("dates", "wrong"),
    [
        ((None, "2026-11-24", None), "in the future"),
        (("2026-11-20", "2026-11-20", None), "is not before --before"),
        ((None, "2026-11-20", "2026-11-19T23:59:59.999"), "would know their future"),
        ((None, "2026-11-20", "2027-01-01"), "31 days ahead"),
    ],
)
def test_dates_that_would_look_ahead_or_make_no_sense_are_refused(dates, wrong):
    since, end, usable = (None if text is None else moment(text) for text in dates)
    with pytest.raises(tables.SpanError, match=wrong):
        tables.span_of(since, end, usable, NOW)
