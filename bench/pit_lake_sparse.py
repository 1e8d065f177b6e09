"""Entity rows at random on a TimescaleDB with the lake, beside plain chunks of the database alone; and 1,000 of them over 90 days.

``TFS_TIMESCALE_URL`` names the server, on which a database is made. One-second rows, a fifth of the columns steps, the others random:

- 31 features, 8 symbols, 3 days, once in plain chunks and once in the columnstore and the lake: seconds of ``to_arrow()`` of 1,000,
  5,000 and 100,000 rows with the lake, beside plain chunks without one, medians of turns. ``ratio`` is plain over lake: 0.5 is the limit.
- 15 features, 4 symbols, 90 days in the columnstore and the lake: the same of 1,000 rows, beside the half second that is asked for.

    TFS_TIMESCALE_URL=postgresql://... python -m bench.pit_lake_sparse
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
from feast import FeatureStore, FeatureView, RepoConfig
from psycopg import sql

from bench.offline_stores import SECONDS, START, database, report, settings, symbol_entity, view_of
from feature_repo.stores.endpoints import LAKE_VARIABLE
from feature_repo.stores.offline.lake.write import write
from feature_repo.stores.offline.tables import hypertable
from feature_repo.stores.offline.tables.schema import Table, migrate, table_of_feature_view

SIZES = (1_000, 5_000, 100_000)
ROUNDS = 5
SHAPES = {"view0": (31, 8, 3), "view1": (31, 8, 3), "view2": (15, 4, 90)}
"""Features, symbols and days: plain chunks, the same in the columnstore, and many days in the columnstore."""


def fill(connection: psycopg.Connection[Any], table: Table, name: str) -> None:
    """Write the rows of a view, a day at a time, and pack those of all views but the first."""
    features, symbols, days = SHAPES[name]
    columns = sql.SQL(", ").join(
        map(sql.Identifier, ["symbol", "event_timestamp", "created_timestamp", *table.features])
    )
    values = sql.SQL(", ").join(sql.SQL("random()" if i % 5 else "floor(i / 60.0)") for i in range(features))
    rows = sql.SQL(
        "INSERT INTO {} ({}) SELECT 'SYM' || s, t, t, {} FROM generate_series(0, {} - 1) AS i, generate_series(1, {}) AS s, "
        "LATERAL (SELECT %s::timestamptz + i * interval '1 s' AS t) AS times"
    ).format(table.identifier, columns, values, SECONDS, symbols)
    for day in range(days):
        at = START + timedelta(days=day)
        if name == "view1":  # the same values
            between = sql.SQL(
                "INSERT INTO view1 SELECT * FROM view0 WHERE event_timestamp >= %s AND event_timestamp < %s"
            )
            connection.execute(between, (at, at + timedelta(days=1)))
        else:
            connection.execute(rows, (at,))
        if name != "view0":
            pack = (
                "SELECT compress_chunk(c, true) FROM show_chunks(%s, newer_than => %s::timestamptz, "
                "older_than => %s::timestamptz) AS c"
            )
            connection.execute(pack, (name, at, at + timedelta(days=1)))
    connection.execute(sql.SQL("VACUUM ANALYZE {}").format(table.identifier))


def random_rows(rng: np.random.Generator, name: str, size: int) -> pd.DataFrame:
    """Return entity rows at random symbols and times of a view."""
    _, symbols, days = SHAPES[name]
    times = START + pd.to_timedelta(rng.integers(0, days * SECONDS * 10**6, size), unit="us")
    return pd.DataFrame({"symbol": [f"SYM{1 + i}" for i in rng.integers(0, symbols, size)], "event_timestamp": times})


def join(store: FeatureStore, view: FeatureView, frame: pd.DataFrame, lake: str) -> tuple[float, list[pa.ChunkedArray]]:
    """Return the seconds of a retrieval, and its features."""
    os.environ[LAKE_VARIABLE] = lake
    features = [f"{view.name}:{field.name}" for field in view.features]
    begin = time.perf_counter()
    table = store.get_historical_features(frame, features).to_arrow()
    return time.perf_counter() - begin, table.columns[2:]


def main() -> None:
    """Measure and print."""
    with database(os.environ["TFS_TIMESCALE_URL"]) as url, tempfile.TemporaryDirectory() as name:
        folder, views = Path(name), [view_of(int(name[-1]), shape[0]) for name, shape in SHAPES.items()]
        config = RepoConfig(
            project="bench_offline",
            provider="local",
            registry={"path": str(folder / "registry.db"), "cache_ttl_seconds": 3_600},
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            offline_store={"type": "feature_repo.stores.timescale.TimescaleOfflineStore", **settings(url)},
            entity_key_serialization_version=3,
        )
        store = FeatureStore(config=config)
        store.apply([symbol_entity(), *views])
        for view in views:
            table = table_of_feature_view(view)
            assert table is not None
            in_rows = hypertable.Policy(columnstore_after=None)
            with psycopg.connect(url, autocommit=True) as connection:
                migrate(connection, [table], in_rows if view.name == "view0" else hypertable.DEFAULT)
            with psycopg.connect(url, autocommit=True) as connection:  # it begins with the settings that were made
                fill(connection, table, view.name)
                if view.name != "view0":
                    write(connection, str(folder / "lake"), table)
        rng = np.random.default_rng(7)
        for size in SIZES:
            frame = random_rows(rng, "view0", size)
            taken: dict[str, list[float]] = {"lake": [], "plain": []}
            for _ in range(ROUNDS):
                seconds, plain = join(store, views[0], frame, "")
                taken["plain"].append(seconds)
                seconds, found = join(store, views[1], frame, str(folder / "lake"))
                taken["lake"].append(seconds)
                assert found == plain
            report(
                "pit_lake_sparse",
                size,
                statistics.median(taken["lake"]),
                "plain",
                statistics.median(taken["plain"]),
                "s",
            )
        frame = random_rows(rng, "view2", SIZES[0])
        _, alone = join(store, views[2], frame, "")
        runs = [join(store, views[2], frame, str(folder / "lake")) for _ in range(ROUNDS)]
        assert all(found == alone for _, found in runs)
        report("pit_lake_90_days", SIZES[0], statistics.median(seconds for seconds, _ in runs), "asked for", 0.5, "s")


if __name__ == "__main__":
    main()
