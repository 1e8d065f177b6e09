"""Of rows that follow each other and say the same one is kept: the direct cases, and random histories against a plain loop."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from feast import FeatureStore, FeatureView
from feast.types import Float64, String

from feature_repo.stores.offline import facts
from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from feature_repo.stores.timescale import TimescaleOfflineStore
from transforms import catalog

VIEW = catalog.SOCIAL
T0 = 1_700_000_000_000_000
NULL = float("nan")

Row = tuple[str, int, int, float, int]
"""Symbol, event second, created second, a value, and the silence in ms."""


@pytest.fixture
def table(database: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    migrate(database, [table_of_view(VIEW)])
    return database


def write(connection: psycopg.Connection[Any], *rows: Row) -> int:
    symbols, event, created, value, silent = zip(*rows, strict=True)
    values = np.zeros((len(rows), len(VIEW.features)))
    values[:, 0] = value
    at = [T0 + 1_000_000 * np.array(seconds, np.int64) for seconds in (event, created)]
    return append_rows(connection, VIEW, symbols, *at, values, 1_000 * np.array(silent, np.int64))


def stored(connection: psycopg.Connection[Any]) -> list[Row]:
    first = VIEW.features[0].name
    found = connection.execute(
        f"SELECT symbol, event_timestamp, created_timestamp, {first}, feed_silence_ms FROM social ORDER BY 1, 2, 3"  # noqa: S608
    ).fetchall()
    seconds = [[int(at.timestamp()) - T0 // 1_000_000 for at in row[1:3]] for row in found]
    return [(row[0], *at, row[3], row[4]) for row, at in zip(found, seconds, strict=True)]


def test_a_row_that_is_made_again_later_adds_nothing(table: psycopg.Connection[Any]) -> None:
    assert write(table, ("A", 0, 1, 5.0, 0), ("A", 1, 2, NULL, 7)) == 2
    assert write(table, ("A", 0, 9, 5.0, 0), ("A", 1, 9, NULL, 7), ("A", 2, 9, 5.0, 0)) == 1
    assert [row[1:3] for row in stored(table)] == [(0, 1), (1, 2), (2, 9)]


def test_a_row_of_before_that_is_written_after_its_repeat_adds_nothing(table: psycopg.Connection[Any]) -> None:
    assert write(table, ("A", 0, 9, 5.0, 0)) == 1
    assert write(table, ("A", 0, 1, 5.0, 0)) == 0  # a writer that was frozen meanwhile
    assert stored(table) == [("A", 0, 9, 5.0, 0)]


def test_a_correction_that_is_taken_back_is_three_rows(table: psycopg.Connection[Any]) -> None:
    assert [write(table, ("A", 0, at, value, 0)) for at, value in [(1, 5.0), (2, 6.0), (3, 5.0)]] == [1, 1, 1]
    assert write(table, ("A", 0, 4, 5.0, 0), ("A", 0, 5, 6.0, 0), ("A", 0, 6, 5.0, 0)) == 2
    assert [row[2:4] for row in stored(table)] == [(1, 5.0), (2, 6.0), (3, 5.0), (5, 6.0), (6, 5.0)]


@pytest.mark.parametrize("other", [(NULL, 0), (6.0, 0), (5.0, 1)], ids=["a null", "a value", "a silence"])
def test_another_value_or_silence_is_a_new_fact(table: psycopg.Connection[Any], other: tuple[float, int]) -> None:
    assert write(table, ("A", 0, 1, 5.0, 0)) == 1
    assert write(table, ("A", 0, 2, *other)) == 1
    assert write(table, ("A", 0, 3, *other)) == 0


def test_repeats_within_one_batch_are_one_row(table: psycopg.Connection[Any]) -> None:
    batch: list[Row] = [
        ("A", 0, 3, 5.0, 0),
        ("A", 0, 1, 5.0, 0),
        ("A", 0, 2, 6.0, 0),
        ("A", 0, 4, 5.0, 0),
        ("B", 0, 1, 5.0, 0),
    ]
    assert write(table, *batch) == 4
    assert [(row[0], *row[2:4]) for row in stored(table)] == [
        ("A", 1, 5.0),
        ("A", 2, 6.0),
        ("A", 3, 5.0),
        ("B", 1, 5.0),
    ]


def kept(have: Sequence[Row], batch: Sequence[Row]) -> list[Row]:
    """The rule as a plain loop over the rows of each moment."""
    known = {row[:3]: (row, True) for row in have}
    for row in batch:
        known.setdefault(row[:3], (row, False))
    out = list(have)
    for _, moment in itertools.groupby(sorted(known.values()), key=lambda one: one[0][:2]):
        for _, run in itertools.groupby(moment, key=lambda one: one[0][3:]):
            rows = list(run)
            if not any(is_stored for _, is_stored in rows):
                out.append(rows[0][0])
    return sorted(out)


@pytest.mark.parametrize("seed", range(4))
def test_random_histories_keep_what_a_plain_loop_keeps(table: psycopg.Connection[Any], seed: int) -> None:
    draw = random.Random(seed)
    expected: list[Row] = []
    for _ in range(12):
        batch = {  # rows of equal keys say the same
            (s, e, c): (s, e, c, float(draw.randrange(2)), draw.randrange(2))
            for s, e, c in (("AB"[draw.randrange(2)], 150 * draw.randrange(3), draw.randrange(8)) for _ in range(6))
        }
        rows = list(batch.values())
        draw.shuffle(rows)
        after = kept(expected, rows)
        assert write(table, *rows) == len(after) - len(expected)
        expected = after
        assert stored(table) == expected


def test_a_frame_that_is_pushed_twice_is_there_once_and_in_a_desks_table_twice(
    open_store: Callable[..., FeatureStore], database: psycopg.Connection[Any], view: Callable[..., FeatureView]
) -> None:
    ours, desk = (
        view("ours", 5, {"100% odd": Float64, "t": String}),
        view("desk", 5, {"100% odd": Float64, "t": String}),
    )
    store = open_store(ours, desk)
    desk.tags.clear()
    database.execute("ALTER TABLE desk DROP COLUMN feed_silence_ms")
    at = datetime(2024, 1, 1, tzinfo=UTC)
    data = pa.table({"symbol": ["A", "B"], "event_timestamp": [at, at], "100% odd": [1.5, None], "t": ["x", None]})
    for one in (ours, ours, desk, desk):
        TimescaleOfflineStore.offline_write_batch(store.config, one, data, None)
    assert [database.execute(f"SELECT count(*) FROM {name}").fetchone() for name in ("ours", "desk")] == [(2,), (4,)]  # noqa: S608


def test_rows_that_another_writer_appends_at_the_same_moment_are_compared(
    table: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Row] = [("A", 0, 1, 5.0, 0), ("A", 1, 1, 5.0, 0)]
    assert write(table, rows[0]) == 1
    monkeypatch.setattr(facts, "MET", "SELECT false")  # as it looked before the other writer's commit
    assert write(table, *rows) == 1
    assert [row[:3] for row in stored(table)] == [row[:3] for row in rows]
