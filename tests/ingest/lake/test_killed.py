"""The process of the role `lake`, killed at random moments of its writing: lake and database give what the database gives alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pytest
import redis
from feast import FeatureStore
from psycopg import sql

from feature_repo.stores.endpoints import LAKE_VARIABLE, POSTGRES_VARIABLE, REDIS_VARIABLE
from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.join import from_lake
from feature_repo.stores.offline.lake import marks, tables
from feature_repo.stores.offline.tables.schema import table_of_view
from tests.feature_repo.stores.conftest import database, definitions, open_store
from tests.feature_repo.stores.offline.lake import histories
from tests.integration.mortal import wait_until
from transforms.catalog import VIEWS
from transforms.times import us_of_datetime

__all__ = ["database", "definitions", "open_store"]

KILLS = int(os.environ.get("TFS_TEST_KILLS", "4"))
T0 = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 25
SYMBOLS = ("A", "B", "C")
ROOT = Path(__file__).parents[3]


def put(connection: psycopg.Connection[Any], rng: np.random.Generator, count: int) -> None:
    """Rows of every view at random seconds, some of them as corrections that are known later."""
    for view in VIEWS:
        event = us_of_datetime(T0) + rng.integers(0, DAYS * 86_400, count) * 1_000_000
        created = event + rng.choice([0, 500_000, 3_600_000_000, 90_000_000_000], count)
        values = rng.integers(0, 100, (count, len(view.features))).astype(np.float64)
        append_rows(connection, view, rng.choice(SYMBOLS, count).tolist(), event, created, values)


def change(connection: psycopg.Connection[Any], rng: np.random.Generator) -> None:
    """Late rows, and other values or deletions on every day of every view."""
    put(connection, rng, 50)
    for view in VIEWS:
        table, value = sql.Identifier(view.name), sql.Identifier(view.features[0].name)
        symbol = str(rng.choice(SYMBOLS))
        connection.execute(sql.SQL("UPDATE {0} SET {1} = {1} + 1 WHERE symbol = %s").format(table, value), (symbol,))
        at = T0 + timedelta(days=float(rng.uniform(0, DAYS)))
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE event_timestamp > %s AND symbol = %s").format(table), (at, symbol)
        )


def answers(store: FeatureStore, place: str | None, known: bool) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    seconds = rng.integers(0, DAYS * 86_400, 600)
    times = [T0 + timedelta(seconds=float(s)) for s in [*seconds, *range(0, DAYS * 86_400, 86_400)]]
    frame = pd.DataFrame({"symbol": rng.choice([*SYMBOLS, "unknown"], len(times)), "event_timestamp": times})
    features = [f"{view.name}:{feature.name}" for view in VIEWS for feature in view.features[:3]]
    with histories.lake(place):
        job = store.get_historical_features(frame, features, filter_by_created_timestamp=known)
        return histories.bits(job.to_arrow())


def commits(place: str) -> int:
    opened = [tables.open_table(place, view.name) for view in VIEWS]
    return sum(one.version() for one in opened if one is not None)


def are_all_readable(connection: psycopg.Connection[Any], place: str) -> bool:
    for view in VIEWS:
        table, states = tables.open_table(place, view.name), marks.states(connection, table_of_view(view).name)
        if table is None or states is None:
            return False
        have = tables.days(table)
        query = sql.SQL("SELECT DISTINCT (event_timestamp AT TIME ZONE 'UTC')::date FROM {}").format(
            sql.Identifier(view.name)
        )
        if not {day for (day,) in connection.execute(query)} <= have.keys() or any(
            of.state != states[day] for day, of in have.items()
        ):
            return False
    return True


def ended(process: subprocess.Popen[bytes]) -> int:
    code = process.wait(30)
    assert process.stdin
    process.stdin.close()
    return code


def test_a_role_that_is_killed_while_it_writes_leaves_a_lake_that_reads_as_the_database(
    open_store: Callable[..., FeatureStore],
    definitions: list[Any],
    database: psycopg.Connection[Any],
    postgres_url: str,
    redis_url: str,
    redis_client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(from_lake, "GROUP_COST", 0)
    store = open_store(*definitions)
    place = str(tmp_path / "lake")
    servers = {REDIS_VARIABLE: redis_url, POSTGRES_VARIABLE: postgres_url, LAKE_VARIABLE: place}
    command = [sys.executable, "-m", "ingest", "run", "--roles", "lake", "--inline"]
    rng = np.random.default_rng()  # a kill is never at the same moment anyway
    put(database, rng, 2_000)

    def same() -> bool:
        return all(answers(store, None, known) == answers(store, place, known) for known in (False, True))

    def started() -> subprocess.Popen[bytes]:
        environ = {**os.environ, **servers, "TFS_NUMBA": "0", "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, stdin=subprocess.PIPE, env=environ, cwd=ROOT)

    for _ in range(KILLS):
        before, process = commits(place), started()
        wait_until(lambda before=before, process=process: process.poll() is not None or commits(place) > before)
        time.sleep(rng.uniform(0.0, 0.5))
        process.kill()
        assert ended(process) == -signal.SIGKILL  # it was alive
        assert same()
        change(database, rng)
        assert same()
    process = started()
    wait_until(lambda: process.poll() is not None or are_all_readable(database, place))
    process.terminate()
    ended(process)
    assert are_all_readable(database, place)
    assert same()
