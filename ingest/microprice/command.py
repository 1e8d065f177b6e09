"""``python -m ingest fit-microprice``: fit the tables of ``microprice`` to stored history, or to what is on the tape."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingest.cli import ExitCode
from ingest.cli.arguments import count, make_parser, moment_ms, names, price_step
from transforms.times import ms_of_datetime, us_of_datetime

if TYPE_CHECKING:
    import psycopg

    from ingest.microprice.tables import Fitted, Span
    from ingest.settings import Settings

_EXAMPLE = """\
examples:
  python -m ingest fit-microprice                                        on the history before today, used from midnight on
  python -m ingest fit-microprice --symbols BTCUSDT --since 2026-10-20 --before 2026-11-20
  python -m ingest fit-microprice --before 2026-11-20 --from 2026-11-20 --no-publish    for a backfill: walk forward
  python -m ingest fit-microprice --from-tape --symbols BTCUSDT           on the tape: no backfill is needed before
  python -m ingest fit-microprice --republish                            into the logs of a new Redis

A table is used for rows at or after its usable_from. That is never before --before, so no row is made with a table that knows the
row's future. usable_from is --from, or the next 00:00 UTC, so live and backfilled rows change over at the same time. If --from is in
the past, a backfill uses the table from then on, and live rows use it from when it arrives.

--from-tape makes the rows of what is on the tape at TFS_TAPE, of the logs and of imported files, as a backfill does, in a temporary
folder (32 bytes a row). --since and --before bound the times of the rows and of the arrival of what makes them.

The tables are rows of microprice_tables in the offline database and entries of the logs. A worker holds a table until its time comes;
a backfill reads the tables from the database. Rows that are stored already stay as they are: to get microprice in history that is
backfilled again, give that backfill another --available-after.

exit codes: 0 all symbols fitted and published, 1 some were not (each with its reason), 2 an option, the tape or a server is wrong
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = "Fit the table of microprice of each symbol, store it with a version, and publish it to the live workers."
    add = make_parser(subparsers, "fit-microprice", run, about, _EXAMPLE).add_argument
    add("--from-tape", action="store_true", help="fit to the tape at TFS_TAPE, and not to rows of the offline database")
    add("--symbols", type=names, default=[], help="comma-separated (default: all that have rows)")
    add("--since", type=moment_ms, metavar="DATE", help="begin of the history (default: all)")
    add("--before", type=moment_ms, metavar="DATE", help="its end, not included (default: 00:00 UTC today)")
    first_row = "first row that uses it (default: the next 00:00 UTC)"
    add("--from", dest="usable_from", type=moment_ms, metavar="DATE", help=first_row)
    step = "price step (default: found in the spreads)"
    add("--tick", type=price_step, action="append", default=[], metavar="SYMBOL=STEP", help=step)
    add("--min-rows", type=count, default=1000, metavar="N", help="rows that a fit needs (default 1000)")
    add(
        "--min-count", type=count, default=100, metavar="N", help="times that a state must have been left (default 100)"
    )
    add("--no-publish", action="store_true", help="store only; needs no Redis")
    add("--republish", action="store_true", help="fit nothing: publish the tables in force and to come again")
    add("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Fit, store, publish, and print what was done."""
    import psycopg

    from feature_repo.stores.endpoints import postgres_url
    from ingest import settings
    from ingest.microprice import tables
    from ingest.streams import deployment

    conf = settings.load()
    now = datetime.now(UTC)
    span = tables.span_of(args.since, args.before, args.usable_from, now)
    stored: list[Fitted] = []
    failed: dict[str, str] = {}
    published = 0
    try:
        with psycopg.connect(postgres_url(), autocommit=True, application_name="tfs fit-microprice") as connection:
            tables.prepare(connection)
            if args.republish:
                chosen = tables.in_force(tables.load(connection, args.symbols or None), ms_of_datetime(now))
            else:
                stored, failed = _fit_all(connection, conf, span, args)
                chosen = [one.message() for one in stored]
        if chosen and not args.no_publish:
            with deployment.opened(conf) as (client, conf):
                published = tables.publish(client, conf, chosen, ms_of_datetime(now))
    except Exception as error:
        if stored and not args.no_publish:
            error.add_note("the tables are stored: publish them with --republish")
        raise
    fitted = [_as_json(one) for one in stored]
    if args.json:
        sys.stdout.write(json.dumps({"fitted": fitted, "failed": failed, "published": published}) + "\n")
    else:
        _show(fitted, failed, published)
    return ExitCode.NO if failed or not (args.republish or stored) else ExitCode.DONE


def _fit_all(
    connection: psycopg.Connection[Any], conf: Settings, span: Span, args: argparse.Namespace
) -> tuple[list[Fitted], dict[str, str]]:
    """Fit and store the table of each symbol; return the tables, and for each other symbol why it has none."""
    from rich.console import Console
    from rich.progress import Progress

    from ingest.microprice import fit, tables
    from ingest.microprice.taped import TapedRows
    from ingest.tape.table import open_tape

    stored: list[Fitted] = []
    failed: dict[str, str] = {}
    limits = {"min_rows": args.min_rows, "min_count": args.min_count}
    console = Console(stderr=True)
    with ExitStack() as stack:
        bar = stack.enter_context(Progress(console=console, disable=args.json or not console.is_terminal))
        taped = stack.enter_context(TapedRows()) if args.from_tape else None
        if taped is not None:
            taped.read(open_tape(conf), conf, args.symbols, span, _reporter(bar, "tape", span))
        symbols = args.symbols or sorted(conf.symbols) or (taped.symbols if taped else fit.symbols(connection))
        if not symbols:
            of_tape = "the tape has no book of that time; `import` history, or let the role `tape` run"
            failed["*"] = (
                of_tape if taped else "the offline store has no rows of microstructure; backfill history first"
            )
        for symbol in symbols:
            report = _reporter(bar, symbol, span)
            given = {"tick": dict(args.tick).get(symbol), "progress": report, **limits}
            try:
                if taped is None:
                    table, rows = fit.fit_symbol(connection, symbol, span.since, span.before, conf.emit_us, **given)
                else:
                    table, rows = taped.fit(symbol, span, conf.emit_us, **given)
            except fit.FitError as error:
                failed[symbol] = str(error)
            else:
                stored.append(tables.append(connection, symbol, span, table, rows))
    return stored, failed


def _reporter(bar: Any, symbol: str, span: Span) -> Callable[[int], None]:
    """Return a function that shows how far a symbol's history is read; its first call tells where the history begins."""
    end = us_of_datetime(span.before)
    task = bar.add_task(symbol, total=None)
    first: int | None = None

    def report(t_us: int) -> None:
        nonlocal first
        first = t_us if first is None else first
        bar.update(task, total=max(end - first, 1), completed=t_us - first)

    return report


def _as_json(one: Fitted) -> dict[str, Any]:
    return {
        "symbol": one.symbol,
        "version": one.version,
        "rows": one.books,
        "tick": one.tick,
        "cells": sum(g is not None for g in one.g),
        "fitted_before": one.fitted_before.isoformat(),
        "usable_from": one.usable_from.isoformat(),
    }


def _show(fitted: list[dict[str, Any]], failed: dict[str, str], published: int) -> None:
    from transforms.microstructure.layout import G_SIZE

    for one in fitted:
        sys.stdout.write(
            f"{one['symbol']}: version {one['version']} from {one['rows']:,} rows before {one['fitted_before']}, "
            f"tick {one['tick']:g}, {one['cells']} of {G_SIZE} cells known, used from {one['usable_from']}\n"
        )
    for reason in failed.values():
        sys.stderr.write(f"error: {reason}\n")
    sys.stdout.write(f"{published} published to the live workers\n")
