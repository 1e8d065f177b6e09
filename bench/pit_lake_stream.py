"""A frame of many days streamed from the lake to Parquet: 3 views of 15 features, 20 symbols of one-second rows, 12 days.

Prints JSON lines for 15 features (of one view) and for 45: rows a second of ``frames`` and ``write_parquet``, which ``training-frame``
uses, without labels, and the largest resident memory of the process that does it (``ru_maxrss``). 20 million rows are a grid of one second;
40 million are one of half a second over the same days. Each frame is made by a process of its own, after one that reads the same
days, so that the files are in the page cache. The rate's peer is the 1,000,000 rows/s that are asked for, the memory's 2 GB.

    python -m bench.pit_lake_stream [DAYS]
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import psycopg
from feast import FeatureService, FeatureStore, RepoConfig

from bench.offline_stores import START, SYMBOLS, bench, fill, report, settings
from feature_repo.stores.endpoints import LAKE_VARIABLE
from feature_repo.stores.offline.lake.write import write
from feature_repo.stores.offline.tables.schema import table_of_feature_view
from feature_repo.training import frames, memory

DAYS = 12
VIEWS = 3
SECOND = timedelta(seconds=1)
RUNS = (("15 features", SECOND), ("45 features", SECOND), ("15 features", SECOND / 2), ("45 features", SECOND / 2))


def stream(service: str, days: int, every: timedelta, output: Path) -> None:
    """Write one frame, and print its rows, seconds and memory. The store's configuration comes from standard input."""
    memory.keep()
    store = FeatureStore(config=RepoConfig(**json.load(sys.stdin)))
    names = [f"SYM{1 + i}" for i in range(SYMBOLS)]
    end = START + timedelta(days=days) - every
    begin = time.perf_counter()
    moments = frames.grid(names, START, end, every)
    rows = frames.write_parquet(output, frames.frames(store, service, moments))
    seconds = time.perf_counter() - begin
    print(json.dumps([rows, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def main(days: int = DAYS) -> None:
    """Measure and print."""
    with bench(views=VIEWS, features=15) as store, tempfile.TemporaryDirectory() as folder:
        lake = str(Path(folder, "lake"))
        fill(store, days)
        views = store.ours.list_feature_views()
        with psycopg.connect(store.url, autocommit=True) as connection:
            for view in views:
                table = table_of_feature_view(view)
                assert table is not None
                write(connection, lake, table)
        services = {"15 features": views[:1], "45 features": views}
        store.ours.apply([FeatureService(name=name, features=of) for name, of in services.items()])
        config = json.dumps(
            {
                "project": store.ours.project,
                "provider": "local",
                "registry": {"path": store.ours.config.registry.path, "cache_ttl_seconds": 3_600},
                "online_store": {"type": "sqlite", "path": str(Path(folder, "online.db"))},
                "offline_store": {"type": "feature_repo.stores.timescale.TimescaleOfflineStore", **settings(store.url)},
                "entity_key_serialization_version": 3,
            }
        )
        for service, every in RUNS:
            for _ in ("the files come into the page cache", "measured"):
                output = Path(folder, "frame.parquet")
                call = f"stream({service!r}, {days}, {every!r}, Path({str(output)!r}))"
                done = subprocess.run(
                    [sys.executable, "-c", f"import datetime\nfrom bench.pit_lake_stream import *\n{call}"],
                    env={**os.environ, LAKE_VARIABLE: lake},
                    input=config.encode(),
                    stdout=subprocess.PIPE,
                    check=True,
                )
                output.unlink()
            rows, seconds, mib = json.loads(done.stdout)
            report(f"pit_lake_stream, {service}", rows, rows / seconds, "asked for", 1_000_000, "rows/s")
            report(f"pit_lake_stream_memory, {service}", rows, mib, "limit", 2048, "MiB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
