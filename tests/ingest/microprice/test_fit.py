"""The fit on stored rows: the numbers of the plain fit on the same rows, from the right ones, in pieces; and clear errors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg
import pytest

from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from ingest.microprice import fit, tables
from transforms.catalog import MICROSTRUCTURE
from transforms.microstructure.microprice_fit import Fit

START = 1_700_000_000_000_000
BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
TICK = 0.01
N = 3000


def at(second: int) -> datetime:
    return BEGIN + timedelta(microseconds=START + second * 1_000_000)


def walk(seed: int = 1):
    """A book a second whose mid follows its imbalance; now and then it is unknown."""
    rng = np.random.default_rng(seed)
    imbalance = rng.integers(-5, 6, N) / 5
    ticks = np.cumsum(np.where(rng.random(N) < abs(imbalance) / 4, np.sign(imbalance), 0.0))
    mid = 100 + TICK * ticks
    mid[rng.random(N) < 0.01] = np.nan
    times = START + 1_000_000 * np.arange(N)
    return times, mid, imbalance, TICK * rng.choice([1.0, 3.0], N)


def plain_fit(times, mid, imbalance, spread, tick, before_us):
    """The table from all books at once."""
    plain = Fit(tick, before_us)
    plain.add(times, mid, imbalance, spread)
    return plain.table()


def store(connection, symbol, times, mid, imbalance, spread, created_after_us=500_000):
    values = np.full((len(times), len(MICROSTRUCTURE.features)), np.nan)
    for name, column in (("mid_price", mid), ("imbalance_l1", imbalance), ("spread", spread)):
        values[:, MICROSTRUCTURE.index[name]] = column
    append_rows(connection, MICROSTRUCTURE, [symbol] * len(times), times, times + created_after_us, values)


@pytest.fixture
def connection(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        migrate(connection, [table_of_view(MICROSTRUCTURE)])
        tables.prepare(connection)
        yield connection


END = at(N)


def fitted(connection, before=END, symbol="A", **options):
    return fit.fit_symbol(connection, symbol, BEGIN, before, 1_000_000, **options)


def test_it_is_the_fit_of_the_rows_strictly_before_whatever_the_pieces(connection, monkeypatch):
    monkeypatch.setattr(fit, "PIECE", 997)
    store(connection, "A", *walk())
    store(connection, "B", *walk(2))
    seen = []
    table, rows = fitted(connection, at(2000), progress=seen.append)
    expected = plain_fit(*walk(), TICK, START + 2000 * 1_000_000)
    assert table.tobytes() == expected.tobytes()
    assert np.isfinite(table[2:]).sum() > 10
    assert rows == np.isfinite(walk()[1][:2000]).sum()
    assert seen == [START + 1_000_000 * last for last in (996, 1993, 1999)]
    assert fitted(connection, at(2001))[0].tobytes() != expected.tobytes()


def test_of_two_rows_of_one_time_the_one_created_last_counts(connection):
    store(connection, "A", *walk(3), created_after_us=600_000)
    store(connection, "A", *walk(1), created_after_us=700_000)
    store(connection, "A", *walk(4), created_after_us=500_000)
    assert fitted(connection)[0].tobytes() == plain_fit(*walk(1), TICK, START + N * 1_000_000).tobytes()


def test_nothing_is_counted_over_a_hole(connection):
    columns = walk()
    kept = np.ones(N, dtype=bool)
    kept[1000:1100] = False
    store(connection, "A", *(column[kept] for column in columns))
    unknown = np.where(kept, columns[1], np.nan)
    expected = plain_fit(columns[0], unknown, *columns[2:], TICK, START + N * 1_000_000)
    assert fitted(connection)[0].tobytes() == expected.tobytes()


def test_a_given_tick_is_used(connection):
    store(connection, "A", *walk())
    assert fitted(connection, tick=0.005)[0][1] == 0.005


def test_too_few_rows_are_an_error_that_says_how_many(connection):
    store(connection, "A", *(column[:50] for column in walk()))
    known = np.isfinite(walk()[1][:50]).sum()
    with pytest.raises(fit.FitError, match=f"A: {known} rows .* 1,000 are needed"):
        fitted(connection)
    with pytest.raises(fit.FitError, match="no state of the book was left 100 times"):
        fitted(connection, min_rows=10)


def test_a_symbol_without_rows_is_an_error(connection):
    with pytest.raises(fit.FitError, match="A: no row with a spread"):
        fitted(connection)


def test_a_smallest_spread_that_is_not_the_tick_is_noticed(connection):
    times, mid, imbalance, spread = walk()
    store(connection, "A", times, mid, imbalance, spread + TICK)  # 2 and 4 ticks, and a mid on every tick
    assert fitted(connection)[0][1] == 2 * TICK  # a mid stands on half ticks: nothing speaks against it
    store(connection, "B", times, mid, imbalance, spread + TICK * (1 + np.arange(N) % 2))  # 2 to 5 ticks
    with pytest.raises(fit.FitError, match="--tick B=STEP"):
        fitted(connection, symbol="B")


def test_the_symbols_are_those_that_have_rows(connection):
    assert fit.symbols(connection) == []
    for symbol in ("B", "A", "C:1"):
        store(connection, symbol, *(column[:3] for column in walk()))
    assert fit.symbols(connection) == ["A", "B", "C:1"]


def test_a_database_without_the_table_has_no_symbols(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        assert fit.symbols(connection) == []
