"""Random histories of two views, and the frames by which the lake is held against the database alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pytest
from feast import FeatureStore
from psycopg import sql

from feature_repo.stores.endpoints import LAKE_VARIABLE
from feature_repo.stores.offline import lake as lake_package
from feature_repo.stores.offline.lake.read import View
from feature_repo.stores.offline.lake.write import write
from feature_repo.stores.offline.tables.schema import Table, table_of_feature_view

T0 = datetime(2024, 1, 1, tzinfo=UTC)
DAY_S = 86_400.0
DAYS = 4
APART_S = 7 * DAY_S
TOGETHER = 10
"""Histories that are tried at once, a week apart: what happens to one changes no day of another."""
SYMBOLS = ("A", "B", "Bb", "é")
_KINDS = [
    (0.2, 0.3, [0, 1500, 4000, 9000]),
    (0.2, 0.0, [0, 1500, 4000, 9000]),
    (0.0, 0.3, [0]),
    (0.0, 0.0, [0, 1500]),
    (1.0, 1.0, [9000]),
]
"""Of the rows of a history: the shares of nulls and of recomputed rows, and the milliseconds for which the feed had been silent."""
FEATURES = ["quick:a", "quick:n", "slow:b"]
_LAKE = lake_package.__path__[0]
_IGNORED = {"__del__", "remove", "_remove"}  # what Python calls when an object goes: it ignores what is raised there
COLUMNS = {"quick": ("a", "n"), "slow": ("b",)}


def tables(store: FeatureStore) -> list[Table]:
    found = [table_of_feature_view(store.get_feature_view(name)) for name in COLUMNS]
    return [table for table in found if table is not None]


def write_lake(connection: psycopg.Connection[Any], store: FeatureStore, place: str) -> None:
    for table in tables(store):
        write(connection, place, table)


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def killed(at: int) -> Iterator[list[int]]:
    """End the code inside at a step, which is a call that a function of the lake makes, or its return. Yield how many there were."""
    count = [0]

    def step(frame: FrameType, event: str, arg: Any) -> None:
        caller = frame if event.startswith("c_") else frame.f_back
        if caller is not None and caller.f_code.co_filename.startswith(_LAKE) and frame.f_code.co_name not in _IGNORED:
            count[0] += 1
            if count[0] == at:
                raise Killed

    sys.setprofile(step)
    try:
        yield count
    except Killed:
        pass
    finally:
        sys.setprofile(None)


def moment(rng: np.random.Generator, number: int = 0) -> float:
    """A second of the four days of a history: often near a midnight, often at a time that others have."""
    day = number * APART_S + float(rng.integers(0, DAYS)) * DAY_S
    kind = rng.random()
    if kind < 0.3:
        return day + float(rng.integers(-4, 5))
    if kind < 0.8:
        return day + 3600.0 + float(rng.integers(0, 60))
    return day + round(float(rng.uniform(0, DAY_S)), 6)


def row(rng: np.random.Generator, name: str, number: int) -> tuple[Any, ...]:
    """A row of a history: some have no null, no silence or one maker throughout, so that row groups of the lake are whole in that, too."""
    nulls, recomputed, silences = _KINDS[number % len(_KINDS)]
    event = moment(rng, number)
    created = event + float(rng.choice([-1.0, 0.0, 0.5, 3.0, 40.0, DAY_S * 2]))
    values = [
        None if rng.random() < nulls else float(rng.choice([np.nan, -0.0, 1.5, rng.normal()])) for _ in COLUMNS[name]
    ]
    if name == "quick":
        values[1] = None if rng.random() < nulls else int(rng.integers(-(2**62), 2**62))
    silence = None if rng.random() < 0.5 else int(rng.choice(silences))
    times = (T0 + timedelta(seconds=event), T0 + timedelta(seconds=created))
    return (str(rng.choice(SYMBOLS)), *times, *values, silence, bool(rng.random() < recomputed))


def add(connection: psycopg.Connection[Any], rng: np.random.Generator, name: str, count: int, number: int = 0) -> None:
    names = ["symbol", "event_timestamp", "created_timestamp", *COLUMNS[name], "feed_silence_ms", "recomputed"]
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
        sql.Identifier(name),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join([sql.Placeholder()] * len(names)),
    )
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(statement, [row(rng, name, number) for _ in range(count)])


def change(connection: psycopg.Connection[Any], rng: np.random.Generator, number: int = 0) -> None:
    """One change of one view of a history: late rows, a deletion, another value, other recomputed rows; seldom all of the view is gone."""
    name = str(rng.choice(list(COLUMNS)))
    at = T0 + timedelta(seconds=moment(rng, number))
    end = T0 + timedelta(seconds=(number + 1) * APART_S)
    view, value = sql.Identifier(name), sql.Identifier(COLUMNS[name][0])
    kind = rng.integers(0, 5)
    if kind <= 1:
        add(connection, rng, name, int(rng.integers(1, 5)), number)
    elif kind == 2:
        near = sql.SQL("DELETE FROM {} WHERE event_timestamp BETWEEN %s AND %s").format(view)
        connection.execute(near, (at - timedelta(seconds=2), at + timedelta(seconds=2)))
    elif kind == 3:
        near = sql.SQL("UPDATE {} SET {} = {} + 1 WHERE symbol = %s AND event_timestamp BETWEEN %s AND %s").format(
            view, value, value
        )
        connection.execute(near, (str(rng.choice(SYMBOLS)), at, end))
    elif rng.random() < 0.02:
        connection.execute(sql.SQL("TRUNCATE {}").format(view))
    else:  # a replacement that changes neither how many rows there are nor the newest created time
        gone = sql.SQL(
            "WITH gone AS (DELETE FROM {0} WHERE event_timestamp BETWEEN %s AND %s AND recomputed RETURNING *) "
            "SELECT symbol, event_timestamp, created_timestamp FROM gone"
        ).format(view)
        with connection.transaction():
            for key in connection.execute(gone, (at, end)).fetchall():
                put = sql.SQL(
                    "INSERT INTO {} (symbol, event_timestamp, created_timestamp, {}, recomputed) VALUES (%s, %s, %s, %s, true)"
                ).format(view, value)
                connection.execute(put, (*key, float(rng.normal())))


def frame(rng: np.random.Generator, count: int, histories: int = 1) -> pd.DataFrame:
    """Entity rows of several histories in any order, with duplicates, unknown symbols and a missing one."""
    symbols: list[Any] = [str(rng.choice([*SYMBOLS, "unknown"])) for _ in range(count)]
    symbols[0] = None
    times = [
        T0 + timedelta(seconds=moment(rng, i % histories) + float(rng.choice([0.0, 0.000001, 2.0, 5.0, 7.5])))
        for i in range(count)
    ]
    rows = pd.DataFrame({"symbol": symbols, "event_timestamp": times, "number": np.arange(count)})
    return pd.concat([rows, rows.iloc[: count // 4]], ignore_index=True)


@contextmanager
def lake(place: str | None, *, is_far: bool = False) -> Iterator[None]:
    """Let joins read the lake at a place; `is_far` reads its files as those in S3 are read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LAKE_VARIABLE, place or "")
        patch.setattr(View, "is_far", is_far)
        yield


def bits(table: pa.Table) -> dict[str, Any]:
    """The table by columns: types, values as bytes, nulls."""
    found = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        filled = (
            column.fill_null(0) if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) else column
        )
        raw = filled.to_numpy(zero_copy_only=False)
        values = raw.tolist() if raw.dtype == object else raw.tobytes()
        found[name] = (str(column.type), column.is_null().to_pylist(), values)
    return found
