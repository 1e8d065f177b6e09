"""``python -m ingest lake``: the closed days of every view as Delta tables, and which of them joins may read."""

from __future__ import annotations

import argparse
import json
from datetime import date
from typing import Any

import psycopg
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from feature_repo.stores.endpoints import postgres_url
from feature_repo.stores.offline.lake import marks, tables
from feature_repo.stores.offline.tables.schema import table_of_view
from ingest.cli import ExitCode
from ingest.cli.arguments import make_parser
from ingest.lake.write import place, write_all
from transforms.catalog import VIEWS

_EXAMPLE = """\
examples:
  python -m ingest lake write
  python -m ingest lake status
"""
_CODES = "exit codes: 0 done, 2 TFS_LAKE, the storage or the database is wrong"


def add_parser(subparsers: Any) -> None:
    """Add the command and its actions."""
    about = "Rows of closed days as Delta tables at TFS_LAKE, one a view, which joins read instead of the database."
    actions = make_parser(subparsers, "lake", None, about, _EXAMPLE).add_subparsers(metavar="action", required=True)
    about = (
        "Write the days that have closed or changed since they were written. The role `lake` does it every ten minutes."
    )
    again = "write every day, also those that have not changed as far as the triggers saw"
    make_parser(actions, "write", run_write, about, _CODES).add_argument("--again", action="store_true", help=again)
    about = (
        "Print for each view how many days and rows the lake has, and how many days have changed in the database since."
    )
    make_parser(actions, "status", run_status, about, _CODES).add_argument(
        "--json", action="store_true", help="one JSON object"
    )


def run_write(args: argparse.Namespace) -> int:
    """Write what is missing."""
    lake = place()
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("days", total=None)

        def tell(view: str, day: date, rows: int) -> None:
            progress.update(task, advance=1, description=f"{view} {day}: {rows:,} rows")

        days = write_all(postgres_url(), lake, tell, again=args.again)
    print(f"{days:,} days of views were written to {lake}")
    return ExitCode.DONE


def run_status(args: argparse.Namespace) -> int:
    """Print what the lake has."""
    lake = place()
    found: dict[str, dict[str, Any]] = {}
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        for view in VIEWS:
            table = tables.open_table(lake, view.name)
            days = tables.days(table) if table else {}
            states = marks.states(connection, table_of_view(view).name)
            current = [day for day, of in days.items() if states is not None and of.state == states[day]]
            rows = sum(count for of in days.values() for _, count in of.files)
            found[view.name] = {
                "days": len(days),
                "rows": rows,
                "changed": len(days) - len(current),
                "last": str(max(days)) if days else None,
            }
    if args.json:
        print(json.dumps({"place": lake, "views": found}))
        return ExitCode.DONE
    shown = Table(title=lake, title_justify="left", box=SIMPLE)
    for name in ("view", "days", "rows", "changed since", "last day"):
        shown.add_column(name, justify="left" if name == "view" else "right", no_wrap=True)
    for name, about in found.items():
        shown.add_row(name, *(f"{about[key]:,}" for key in ("days", "rows", "changed")), about["last"] or "-")
    Console().print(shown)
    return ExitCode.DONE
