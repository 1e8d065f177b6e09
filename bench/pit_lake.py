"""Point-in-time join from the lake: 3 views of 15 features, 20 symbols of one-second rows.

Prints JSON lines: seconds of ``get_historical_features(...).to_arrow()`` of a day in the lake beside the database alone and beside Polars,
which has the same rows in memory, and the peak memory of the join above what was held before. ``ratio`` is the other's time over that of
the lake: 0.5 beside Polars says that the join takes twice the time of Polars.

    python -m bench.pit_lake
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psycopg

from bench.offline_stores import SECONDS, SYMBOLS, bench, fill, references, report
from bench.pit_dense import VIEWS, Peak, in_memory, merge, random_rows
from feature_repo.stores.endpoints import LAKE_VARIABLE
from feature_repo.stores.offline.lake.write import write
from feature_repo.stores.offline.tables.schema import table_of_feature_view

SIZES = (100_000, 1_000_000)
ROUNDS = 3


def main() -> None:
    """Measure and print."""
    with bench(views=VIEWS, features=15) as store, tempfile.TemporaryDirectory() as folder:
        fill(store)
        features = references(store)
        begin = time.perf_counter()
        with psycopg.connect(store.url, autocommit=True) as connection:
            for view in store.ours.list_feature_views():
                table = table_of_feature_view(view)
                assert table is not None
                write(connection, folder, table)
        rows_s = VIEWS * SYMBOLS * SECONDS / (time.perf_counter() - begin)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        report(
            "lake_write", VIEWS * SYMBOLS * SECONDS, rows_s, "bytes a row", size / (VIEWS * SYMBOLS * SECONDS), "rows/s"
        )
        rows = in_memory(store)
        rng = np.random.default_rng(7)
        for size in SIZES:
            frame = random_rows(rng, size)
            taken: dict[str, list[float]] = {}
            results: dict[str, Any] = {}
            for name in ["database", *["lake", "polars in memory"] * ROUNDS]:
                os.environ[LAKE_VARIABLE] = folder if name == "lake" else ""
                results.pop(name, None)
                with Peak() as held:
                    begin = time.perf_counter()
                    if name == "polars in memory":
                        results[name] = merge(frame, rows)
                    else:
                        results[name] = store.ours.get_historical_features(frame, features).to_arrow()
                    taken.setdefault(name, []).append(time.perf_counter() - begin)
                if name == "lake":
                    peak = held.mib
            assert results["lake"].equals(results["database"])
            assert pl.DataFrame(results["lake"]).equals(pl.DataFrame(results["polars in memory"]))
            for name in ("database", "polars in memory"):
                report("pit_lake", size, statistics.median(taken["lake"]), name, statistics.median(taken[name]), "s")
            report("pit_lake_memory", size, peak, "limit", 2048, "MiB")


if __name__ == "__main__":
    main()
