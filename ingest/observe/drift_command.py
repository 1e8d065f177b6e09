"""``python -m ingest drift``: measure a reference day, and compare the last 24 hours with it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from feature_repo.stores.errors import UserError
from ingest.cli import ExitCode
from ingest.cli.arguments import day, make_parser, moment, names
from transforms.times import datetime_of_us, us_of_datetime

_EXAMPLE = """\
examples:
  python -m ingest drift reference --day 2024-08-08 --symbols BTCUSDT,ETHUSDT
  python -m ingest drift show --json

reference  reads a UTC day of the offline store and keeps each symbol's deciles of each feature, in place of earlier ones
show       prints the population stability index of the last 24 hours (or those up to --end): above 0.25 the populations differ
exit codes: 0 done, 1 nothing could be measured, 2 an option or a server is wrong
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = make_parser(
        subparsers, "drift", run, "Population stability index of every feature against a reference day.", _EXAMPLE
    )
    parser.add_argument("what", choices=("reference", "show"))
    parser.add_argument("--day", type=day, help="the reference day, such as 2024-08-08; UTC")
    parser.add_argument(
        "--symbols", type=names, default=[], help="comma-separated (default: all that the workers know)"
    )
    parser.add_argument("--end", type=moment, help="show: end of the 24 hours; ISO time (default now)")
    parser.add_argument("--json", action="store_true", help="show: one JSON object")


def run(args: argparse.Namespace) -> int:
    """Measure the reference day or show the drift from it; return the exit code."""
    import psycopg

    from feature_repo.stores.endpoints import postgres_url
    from ingest import settings
    from ingest.observe import drift
    from ingest.observe.redis_state import symbols
    from ingest.streams import deployment

    conf = settings.load()
    with (
        deployment.opened(conf, fix=False) as (client, conf),
        psycopg.connect(postgres_url(), autocommit=True, connect_timeout=5) as connection,
    ):
        if args.what == "reference":
            if args.day is None:
                raise UserError("drift reference needs --day")
            wanted = args.symbols or symbols(client, conf.partitions)
            one = drift.reference(connection, wanted, us_of_datetime(args.day), conf.emit_us)
            measured = {view: len(known) for view, (_, known) in one.views.items()}
            if any(measured.values()):
                drift.store(client, one)
            print(", ".join(f"{view}: {n} symbols" for view, n in measured.items()))
            return ExitCode.DONE if any(measured.values()) else ExitCode.NO
        kept = drift.load(client)
        if kept is None:
            print("error: no reference day is kept; see `drift reference`", file=sys.stderr)
            return ExitCode.NO
        end_us = time.time_ns() // 1000 if args.end is None else us_of_datetime(args.end)
        found = drift.drift(connection, kept, end_us, conf.emit_us)
    _show(found, kept.start_us, as_json=args.json)
    return ExitCode.DONE if found else ExitCode.NO


def _show(found: dict[tuple[str, str], float], start_us: int, *, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    date = datetime_of_us(start_us).date().isoformat()
    if as_json:
        print(json.dumps({"reference": date, "psi": {f"{view}.{name}": x for (view, name), x in found.items()}}))
        return
    table = Table("view", "feature", "PSI", title=f"against {date}", title_justify="left")
    for (view, name), x in sorted(found.items(), key=lambda item: -item[1]):
        table.add_row(view, name, f"{x:.3f}", style="red" if x > 0.25 else None)
    Console().print(table)
