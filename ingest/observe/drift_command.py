"""``python -m ingest drift``: measure a reference day, and hold the last 24 hours against it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from transforms.times import datetime_of_us, us_of_datetime

_EXAMPLE = """\
examples:
  python -m ingest drift reference --day 2024-08-08 --symbols BTCUSDT,ETHUSDT
  python -m ingest drift show --json

reference  reads a UTC day of the offline store and keeps each symbol's deciles of each feature, in place of those before
show       the population stability index of the last 24 hours (or those up to --end): above 0.25 is another population
exit codes: 0 done, 1 nothing could be measured, 2 it could not be read
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "drift",
        help="features now against a reference day",
        description="Population stability index of every feature against a reference day.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("reference", "show"))
    parser.add_argument("--day", type=_day, help="the reference day, such as 2024-08-08; UTC")
    parser.add_argument("--symbols", default="", help="comma-separated (default: all that the workers know)")
    parser.add_argument("--end", type=datetime.fromisoformat, help="show: end of the 24 hours; ISO time (default now)")
    parser.add_argument("--json", action="store_true", help="show: one JSON object")
    parser.set_defaults(run=run)


def _day(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)


def run(args: argparse.Namespace) -> int:
    """Measure or show."""
    import psycopg

    from feature_repo.stores.endpoints import postgres_url, redis_url
    from ingest import settings
    from ingest.observe import drift
    from ingest.observe.redis_state import symbols
    from ingest.streams.outage import open_redis

    conf = settings.load()
    with (
        open_redis(redis_url()) as client,
        psycopg.connect(postgres_url(), autocommit=True, connect_timeout=5) as connection,
    ):
        if args.what == "reference":
            if args.day is None:
                print("error: drift reference needs --day", file=sys.stderr)
                return 2
            wanted = [s for s in args.symbols.split(",") if s] or symbols(client, conf.partitions)
            one = drift.reference(connection, wanted, us_of_datetime(args.day), conf.emit_us)
            measured = {view: len(known) for view, (_, known) in one.views.items()}
            if any(measured.values()):
                drift.store(client, one)
            print(", ".join(f"{view}: {n} symbols" for view, n in measured.items()))
            return int(not any(measured.values()))
        kept = drift.load(client)
        if kept is None:
            print("error: no reference day is kept; see `drift reference`", file=sys.stderr)
            return 1
        end_us = time.time_ns() // 1000 if args.end is None else us_of_datetime(_utc(args.end))
        found = drift.drift(connection, kept, end_us, conf.emit_us)
    _show(found, kept.start_us, as_json=args.json)
    return int(not found)


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _show(found: dict[tuple[str, str], float], start_us: int, *, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    day = datetime_of_us(start_us).date().isoformat()
    if as_json:
        print(json.dumps({"reference": day, "psi": {f"{view}.{name}": x for (view, name), x in found.items()}}))
        return
    table = Table("view", "feature", "PSI", title=f"against {day}", title_justify="left")
    for (view, name), x in sorted(found.items(), key=lambda item: -item[1]):
        table.add_row(view, name, f"{x:.3f}", style="red" if x > 0.25 else None)
    Console().print(table)
