"""``python -m ingest status``: one screen of what is owned, waiting, fresh, refused and stored."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from rich.console import Console, Group, JustifyMethod
from rich.live import Live
from rich.table import Table
from rich.text import Text

from feature_repo.stores.endpoints import postgres_url
from ingest import settings
from ingest.cli import ExitCode
from ingest.cli.arguments import make_parser, pause_s
from ingest.observe import snapshot
from ingest.observe.watch_screen import age, age_ms, alive, errors, fitted, trouble
from ingest.streams import deployment
from ingest.streams.dead_letters import shown
from transforms.catalog import VIEWS

SYMBOLS_SHOWN = 15
_EXAMPLE = """\
examples:
  python -m ingest status --watch
  python -m ingest status --json
  python -m ingest status --run-failed-jobs

exit codes: 0 well, 1 a job of the database has failed or the database cannot be read, 2 Redis cannot be read
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = make_parser(
        subparsers,
        "status",
        run,
        "Print what is owned, accepted, refused and written, what waits, how fresh it is, and the state of the offline tables.",
        _EXAMPLE,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object; with --watch one a line")
    parser.add_argument(
        "--watch", nargs="?", type=pause_s, const=2.0, metavar="S", help="again every S seconds (2) until Ctrl-C"
    )
    parser.add_argument(
        "--run-failed-jobs", action="store_true", help="run TimescaleDB's failed background jobs here and now first"
    )


def run(args: argparse.Namespace) -> int:
    """Print the status, once or again and again; return the exit code."""
    conf = settings.load()
    console = Console()
    with deployment.opened(conf, fix=False) as (client, conf):

        def look(run_failed_jobs: bool = False) -> dict[str, Any]:
            seen = snapshot.snapshot(client, deployment.adopted(client, conf), time.time_ns() // 1000)
            return {**seen, **snapshot.offline(postgres_url(), run_failed_jobs=run_failed_jobs)}

        seen = look(args.run_failed_jobs)
        if args.json:
            print(json.dumps(seen), flush=True)
            while args.watch is not None:
                time.sleep(args.watch)
                print(json.dumps(look()), flush=True)
        elif args.watch is None:
            console.print(screen(seen))
        else:
            height = console.height
            with Live(fitted(seen, height), console=console, screen=console.is_terminal, auto_refresh=False) as live:
                while True:
                    live.refresh()
                    time.sleep(args.watch)
                    live.update(fitted(look(), console.height))
    return ExitCode.NO if seen["failed_jobs"] or seen["offline_error"] is not None else ExitCode.DONE


def screen(seen: dict[str, Any]) -> Group:
    """Return everything; ``--watch`` shows what fits the terminal (`watch_screen`)."""
    line, style = alive(seen)
    return Group(
        Text(line, style=style),
        *(Text(line, style="red") for line in errors(seen)),
        *(Text(line, style="yellow") for line in trouble(seen)),
        _partitions(seen),
        _counts(seen),
        _freshness(seen["freshness"]),
        _offline(seen),
    )


def _table(*columns: str, title: str, yields: str = "") -> Table:
    """Return an empty table; on a narrow screen the column ``yields`` is cut before any other."""
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        gives = column == yields
        justify: JustifyMethod = "right" if i and not gives else "left"
        table.add_column(column, justify=justify, no_wrap=not gives, overflow="ellipsis")
    return table


def _partitions(seen: dict[str, Any]) -> Table:
    table = _table(
        "stream", "owner", "symbols", "lag", "pending", "oldest", "outbox", "oldest", title="streams", yields="owner"
    )
    for p in seen["partitions"]:
        owner = "nobody" if p["owner"] is None else shown(p["owner"], 40)
        events, outbox = p["events"], p["outbox"]
        table.add_row(
            f"events {p['partition']}",
            owner,
            f"{p['symbols']:,}",
            *_waits(events),
            f"{outbox['length']:,}",
            age_ms(outbox["oldest_ms"]),
            style="red" if p["owner"] is None else None,
        )
    for stream in seen["streams"]:
        table.add_row(stream["stream"], "", "", *_waits(stream), "", "")
    return table


def _waits(stream: dict[str, Any]) -> tuple[str, str, str]:
    return f"{stream['lag']:,}", f"{stream['pending']:,}", age_ms(stream["oldest_ms"])


def _freshness(ages: dict[str, dict[str, float | None]]) -> Table:
    table = _table("online, age in s", *ages, title="")
    symbols = list(next(iter(ages.values()), {}))
    for symbol in symbols[:SYMBOLS_SHOWN]:
        table.add_row(symbol, *(age(ages[view.name][symbol], view.ttl_s) for view in VIEWS))
    if len(symbols) > SYMBOLS_SHOWN:
        table.add_row(f"and {len(symbols) - SYMBOLS_SHOWN:,} more")
    return table


def _counts(seen: dict[str, Any]) -> Table:
    table = _table("count", "n", title="")
    for name, n in {**seen["counts"], **{f"waiting.{name}": n for name, n in seen["waiting"].items()}}.items():
        if not name.startswith("latency_ms."):
            table.add_row(name, f"{n:,}")
    letters = seen["dead_letters"]
    table.add_row("dead letters kept", f"{letters['kept']:,}")
    for reason, n in letters["by_reason"].items():
        table.add_row(f"  {reason}, of the newest {letters['looked_at']:,}", f"{n:,}")
    used, limit = seen["redis"]["memory_used"], seen["redis"]["memory_limit"]
    table.add_row("Redis, MB", f"{used / 1e6:,.1f}" + (f" of {limit / 1e6:,.1f}" if limit else ""))
    if tape := seen["tape"]:
        table.add_row("tape behind by", age_ms(max(tape["behind_ms"])))
    if checked := seen["consistency"]:
        outcomes = ", ".join(f"{n:,} {name}" for name, n in checked.items() if name != "time_ms")
        table.add_row("last check consistency", outcomes)
    return table


def _offline(seen: dict[str, Any]) -> Table:
    table = _table("offline table", "rows, about", "MB", "chunks", "compressed", title="")
    for t in seen["offline"]:
        table.add_row(t["name"], f"{t['rows']:,}", f"{t['bytes'] / 1e6:,.1f}", str(t["chunks"]), str(t["compressed"]))
    return table
