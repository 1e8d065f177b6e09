"""Point-in-time join of very many entity rows: 3 views of 15 features, 20 symbols of one-second rows for a day.

Prints JSON lines: seconds of ``get_historical_features(...).to_arrow()``, which reads everything from the server, beside
as-of joins of Polars and DuckDB: of the same frame with the same rows, which they have in memory already, to the same result; and
peak memory of the retrieval in MiB above what was held before. Feast's own store does not finish at these sizes.

    python -m bench.pit_dense
"""

from __future__ import annotations

import statistics
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import psycopg
from psycopg import sql

from bench.offline_stores import SECONDS, START, SYMBOLS, Bench, bench, fill, references, report
from feature_repo.stores.offline.binary.decode import read_table
from feature_repo.stores.offline.tables.schema import MAKERS, SILENCE

SIZES = (100_000, 1_000_000)
ROUNDS = 3
VIEWS = 3


class Peak:
    """Largest resident memory of this process while the block runs, above that at its begin, in MiB."""

    def __enter__(self) -> Peak:
        self.mib, self._stop = 0.0, threading.Event()
        self._base = self._now()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.mib = max(self.mib, self._now() - self._base)

    @staticmethod
    def _now() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def in_memory(store: Bench) -> list[pl.DataFrame]:
    """The rows of every table, sorted for Polars."""
    frames = []
    with psycopg.connect(store.url) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for i in range(VIEWS):
            query = sql.SQL("SELECT * FROM {} ORDER BY event_timestamp").format(sql.Identifier(f"view{i}"))
            frames.append(pl.from_arrow(read_table(connection, query)).drop("created_timestamp", SILENCE, *MAKERS))  # type: ignore[union-attr]
    return frames


def random_rows(rng: np.random.Generator, size: int) -> pd.DataFrame:
    """Return entity rows at random symbols and times, numbered."""
    return pd.DataFrame(
        {
            "symbol": [f"SYM{1 + i}" for i in rng.integers(0, SYMBOLS, size)],
            "event_timestamp": START + pd.to_timedelta(rng.integers(0, SECONDS * 10**6, size), unit="us"),
            "number": np.arange(size),
        }
    )


def merge(frame: pd.DataFrame, rows: list[pl.DataFrame]) -> Any:
    """Polars' own as-of join of each view in turn: of the same frame, to the same Arrow table in the same order."""
    asked = pl.from_pandas(frame.assign(event_timestamp=frame["event_timestamp"].dt.tz_localize(None)))
    result = asked.with_columns(pl.col("event_timestamp").cast(pl.Datetime("us"))).sort("event_timestamp")
    for view in rows:
        result = result.join_asof(
            view, on="event_timestamp", by="symbol", tolerance="5m", strategy="backward", check_sortedness=False
        )
    return result.sort("number").to_arrow()


def in_duckdb(rows: list[pl.DataFrame]) -> tuple[duckdb.DuckDBPyConnection, str]:
    """The rows in DuckDB's memory, and its own as-of join of each view in turn with the frame ``asked``."""
    connection = duckdb.connect()
    columns, joins = ["asked.*"], []
    for i, view in enumerate(rows):
        connection.register("view", view.to_arrow())
        connection.execute(f"CREATE TABLE view{i} AS FROM view")
        alive = f"view{i}.event_timestamp >= asked.event_timestamp - INTERVAL 5 MINUTE"
        columns += [f"CASE WHEN {alive} THEN {name} END AS {name}" for name in view.columns[2:]]
        on = f"asked.symbol = view{i}.symbol AND asked.event_timestamp >= view{i}.event_timestamp"
        joins.append(f"ASOF LEFT JOIN view{i} ON {on}")
    return connection, f"SELECT {', '.join(columns)} FROM asked {' '.join(joins)} ORDER BY number"  # noqa: S608 - as above


def ask(connection: duckdb.DuckDBPyConnection, query: str, frame: pd.DataFrame) -> Any:
    """DuckDB's answer as an Arrow table."""
    connection.register("asked", frame.assign(event_timestamp=frame["event_timestamp"].dt.tz_localize(None)))
    return connection.sql(query).to_arrow_table()


def main() -> None:
    """Measure and print."""
    with bench(views=VIEWS, features=15) as store:
        fill(store)
        features = references(store)
        rows = in_memory(store)
        duck, query = in_duckdb(rows)
        rng = np.random.default_rng(7)
        for size in SIZES:
            frame = random_rows(rng, size)
            ours, peak, result = [], [], None
            for _ in range(ROUNDS):
                del result
                with Peak() as held:
                    begin = time.perf_counter()
                    result = store.ours.get_historical_features(frame, features).to_arrow()
                    ours.append(time.perf_counter() - begin)
                peak.append(held.mib)
            for name, join in (
                ("polars in memory", partial(merge, frame, rows)),
                ("duckdb in memory", partial(ask, duck, query, frame)),
            ):
                peer: list[float] = []
                joined: Any = None
                for _ in range(ROUNDS):
                    begin = time.perf_counter()
                    joined = join()
                    peer.append(time.perf_counter() - begin)
                assert pl.DataFrame(result).equals(pl.DataFrame(joined))
                del joined
                report("pit_dense", size, statistics.median(ours), name, statistics.median(peer), "s")
            report("pit_dense_memory", size, max(peak), "limit", 2048, "MiB")


if __name__ == "__main__":
    main()
