"""``python -m ingest status``: counts, refusals, what waits."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

import redis
from rich.console import Console
from rich.table import Table

from feature_repo.stores.endpoints import redis_url
from ingest import settings
from ingest.backlog import backlog, counters


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "status",
        help="what was taken, refused and written, and what waits",
        epilog="example:\n  python -m ingest status --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the counts."""
    partitions = settings.load().partitions
    with redis.Redis.from_url(redis_url()) as client:
        counts = counters(client, partitions)
        waiting = asdict(backlog(client, partitions))
    if args.json:
        print(json.dumps({"counts": counts, "waiting": waiting}))
        return 0
    table = Table("what", "count")
    for name, n in counts.items():
        table.add_row(name, f"{n:,}")
    for name, n in waiting.items():
        table.add_row(f"waiting.{name}", f"{n:,}")
    Console().print(table)
    return 0
