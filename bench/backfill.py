"""Backfill in one process, from files to rows in the database, messages (lines of the files) a second.

Prints one JSON object a line, ``size`` the messages. The files are the two Binance captures in ``RECORDINGS`` (else beside the checkout),
or, without them, a simulated market as JSON lines. ``backfill`` is by the core's own time, the database server's part included;
``backfill_wall`` by the clock. We know of no peer that computes these features.

    python -m bench.backfill
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import psycopg

from ingest import settings
from ingest.backfill.run import backfill
from ingest.servers import embedded
from ingest.simulate import history
from transforms.catalog import VIEWS

ROUNDS = 5
_START = 1_700_000_000_000


def recordings(folder: Path) -> list[Path]:
    """The captures, or a simulated market of half an hour written to ``folder``."""
    given = os.environ.get("RECORDINGS")
    found = Path(given) if given else Path(__file__).parents[2] / "shared" / "recordings"
    captures = sorted((found / "ws_binance_hftbacktest").glob("*.jsonl.gz"))
    if captures:
        return captures
    path = folder / "simulated.jsonl"
    with path.open("wb") as file:
        for _, message in history(_START, _START + 1_800_000, kinds=("book", "trade")):
            file.write(msgspec.json.encode(message) + b"\n")
    return [path]


def server_seconds(url: str) -> float:
    """Processor time of the database server so far, of the backends that have ended included."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        own = psutil.Process(row[0])
        postmaster = own.parent()
        assert postmaster is not None
        all_of_it, this = postmaster.cpu_times(), own.cpu_times()
    total = all_of_it.user + all_of_it.system + all_of_it.children_user + all_of_it.children_system
    return float(total - this.user - this.system)


def measure(paths: list[Path], url: str) -> tuple[int, float, float]:
    """Messages, seconds of the core and seconds of the clock of one backfill into empty tables."""
    with psycopg.connect(url, autocommit=True) as connection:
        for table in (*(view.name for view in VIEWS), "backfill_done"):
            connection.execute(f"DROP TABLE IF EXISTS {table}")
    server, core, clock = server_seconds(url), time.process_time(), time.perf_counter()
    done = backfill(paths, url, settings.load())
    clock, core = time.perf_counter() - clock, time.process_time() - core
    assert done.new == done.made > 0
    return done.lines, core + max(0.0, server_seconds(url) - server), clock


@contextlib.contextmanager
def database() -> Iterator[tuple[Path, str]]:
    """A folder, and a PostgreSQL server in it."""
    with tempfile.TemporaryDirectory(prefix="tfs-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the server may run as another user
        with embedded.running(folder / "servers", durable=False) as endpoints:
            yield folder, endpoints.postgres_url


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # a plain PostgreSQL says each time that it is no TimescaleDB
    with database() as (folder, url):
        paths = recordings(folder)
        measure(paths, url)
        rounds = [measure(paths, url) for _ in range(ROUNDS)]
    size = rounds[0][0]
    for name, seconds, unit in (
        ("backfill", min(core for _, core, _ in rounds), "messages/s/core"),
        ("backfill_wall", min(clock for _, _, clock in rounds), "messages/s"),
    ):
        record = {
            "bench": name,
            "size": size,
            "ours": round(size / seconds),
            "peer_name": None,
            "peer": None,
            "ratio": None,
            "unit": unit,
        }
        print(json.dumps(record), flush=True)
