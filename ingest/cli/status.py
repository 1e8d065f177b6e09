"""``python -m ingest status``: counts, refusals, what waits, and how the offline tables stand."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

import psycopg
import redis
from rich.console import Console
from rich.table import Table

from feature_repo.stores import upkeep
from feature_repo.stores.endpoints import postgres_url, redis_url
from feature_repo.stores.schema import table_of_view
from ingest import settings
from ingest.backlog import backlog, counters
from transforms.catalog import VIEWS


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "status",
        help="what was taken, refused and written, what waits, and how the offline tables stand",
        epilog="examples:\n  python -m ingest status --json\n  python -m ingest status --run-failed-jobs",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--run-failed-jobs", action="store_true", help="run TimescaleDB's failed background jobs here and now first"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print it; 1 where a background job of the database has failed."""
    partitions = settings.load().partitions
    with redis.Redis.from_url(redis_url()) as client:
        counts = counters(client, partitions)
        waiting = asdict(backlog(client, partitions))
    with psycopg.connect(postgres_url(), autocommit=True, connect_timeout=5) as connection:
        if args.run_failed_jobs:
            upkeep.run_failed(connection)
        offline = [asdict(t) for t in upkeep.tables(connection, [table_of_view(view) for view in VIEWS])]
        failed = [asdict(job) for job in upkeep.failed_jobs(connection)]
    if args.json:
        print(json.dumps({"counts": counts, "waiting": waiting, "offline": offline, "failed_jobs": failed}))
    else:
        _print(counts, waiting, offline, failed)
    return 1 if failed else 0


def _print(
    counts: dict[str, int], waiting: dict[str, int], offline: list[dict[str, Any]], failed: list[dict[str, Any]]
) -> None:
    console = Console()
    table = Table("what", "count")
    for name, n in {**counts, **{f"waiting.{name}": n for name, n in waiting.items()}}.items():
        table.add_row(name, f"{n:,}")
    console.print(table)
    table = Table("offline table", "rows, about", "MB", "chunks", "compressed")
    for t in offline:
        table.add_row(t["name"], f"{t['rows']:,}", f"{t['bytes'] / 1e6:,.1f}", str(t["chunks"]), str(t["compressed"]))
    console.print(table)
    for job in failed:
        console.print(f"failed: job {job['id']} {job['procedure']} of {job['table']}: {job['message']}", markup=False)
