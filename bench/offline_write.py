"""Rows a second into a plain offline table of 25 features, a fifth of the cells null.

Prints JSON lines: Feast's ``offline_write_batch`` and the worker's ``append_rows`` beside psycopg's ``executemany`` of the
same rows with the same rule for repeats, and rows written a second time, which change nothing. Figures are medians.

    python -m bench.offline_write
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql

from bench.offline_stores import START, SYMBOLS, bench, report
from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.timescale import TimescaleOfflineStore
from transforms.catalog import Feature, View

SIZE = 100_000
FEW = 10_000
FEATURES = 25
ROUNDS = 3


def timed(connection: psycopg.Connection[Any], call: Callable[[], Any], *, empty: bool = True) -> float:
    """Median seconds of a call, each time on an empty table unless told otherwise."""
    taken = []
    for _ in range(ROUNDS):
        if empty:
            connection.execute("TRUNCATE view0")
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def main() -> None:
    """Measure and print."""
    with bench(views=1, features=FEATURES) as store, psycopg.connect(store.url, autocommit=True) as connection:
        names = [f"f0_{i}" for i in range(FEATURES)]
        view = View("view0", "trade", 300, "", tuple(Feature(n, "", -np.inf, np.inf, "") for n in names))
        rng = np.random.default_rng(7)
        values = rng.normal(size=(SIZE, FEATURES))
        values[rng.random(values.shape) < 0.2] = np.nan
        symbols = [f"SYM{1 + i % SYMBOLS}" for i in range(SIZE)]
        event = START.value // 1_000 + np.arange(SIZE, dtype=np.int64) // SYMBOLS * 1_000_000
        times = pa.array(event).cast(pa.timestamp("us", "UTC"))
        table = pa.table(
            {"symbol": symbols, "event_timestamp": times, "created_timestamp": times}
            | {name: pa.array(values[:, i], mask=np.isnan(values[:, i])) for i, name in enumerate(names)}
        )
        feature_view = store.ours.get_feature_view("view0")
        rows = [tuple(row.values()) for row in table.slice(0, FEW).to_pylist()]
        insert = sql.SQL("INSERT INTO view0 ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
            sql.SQL(", ").join(map(sql.Identifier, table.column_names)),
            sql.SQL(", ").join([sql.Placeholder()] * table.num_columns),
        )

        def by_feast() -> None:
            TimescaleOfflineStore.offline_write_batch(store.ours.config, feature_view, table, None)

        def by_worker() -> None:
            append_rows(connection, view, symbols, event, event, values)

        def one_by_one() -> None:
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(insert, rows)

        peer = FEW / timed(connection, one_by_one)
        report("offline_write_append_rows", SIZE, SIZE / timed(connection, by_worker), "executemany", peer, "rows/s")
        report("offline_write", SIZE, SIZE / timed(connection, by_feast), "executemany", peer, "rows/s")
        report(
            "offline_write_again", SIZE, SIZE / timed(connection, by_feast, empty=False), "executemany", peer, "rows/s"
        )
        assert connection.execute("SELECT count(*) FROM view0").fetchone() == (SIZE,)


if __name__ == "__main__":
    main()
