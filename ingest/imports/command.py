"""``python -m ingest import``: history as venues and vendors publish it, onto the tape."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from feature_repo.stores.errors import UserError
from ingest.cli import ExitCode, printable
from ingest.cli.arguments import day, make_parser
from ingest.recordings.columns import (
    ANY_FILE,
    BOOK,
    TRADE,
    GivenColumns,
    add_column_options,
    column_of_table,
    given_columns,
)
from transforms.times import ms_of_datetime

_FIELDS = ("timestamp", "symbol", "received", "venue", *TRADE, *BOOK)
_OF_FILES = f"write FIELD=NAME, FIELD one of {', '.join(_FIELDS)}"
_EXAMPLE = """\
examples:
  python -m ingest import BTCUSDT-trades-2025-01-01.zip
  python -m ingest import bybit/*.csv.gz --prefix BYBIT: --venue bybit
  python -m ingest import trades.parquet --venue kraken --symbol XBT/USD --column price=last --column size=lots --time-column at
  python -m ingest import file.csv --dry-run
  python -m ingest import --table market.trades --table market.books --since 2026-01-01
  python -m ingest import --table fills --column size=lots --column fills:received=

A file is recognised by its content; docs/import.md lists the formats, and what each cannot give. A format by the names of columns reads
any CSV or Parquet file of trades or whole books; --column says which column is price, size, side (of the aggressor), trade_id, received
and so on, and FIELD= that there is none: a tape of US stocks, whose column exchange is where a trade was made, is one market with
--column venue=. Text may be packed: .gz, .zst, .bz2, .xz, or the only file of a .zip.
--table reads raw tables (or views) of the offline database, together:
  trades  time, symbol, price, size, side (buy, sell or NULL) or is_buyer_maker, trade_id, next_funding, received, arrival
  books   time, symbol, bids, asks (arrays or jsonb of [price, size], best first; both NULL: the feed lost its place), sequence,
          received, arrival, and with --column depth=NAME the depths of a message
time and received are timestamps or whole numbers. side, trade_id, next_funding, sequence, received and arrival may be missing.
--column gives the column of a field that has another name, with TABLE: for one table only.
An index on (symbol, time) makes reading fast. Called again, it adds what was added behind the last row of a symbol's day.

The same file twice adds nothing, and an import that was stopped goes on where it was when it is called again.
Two markets are never one symbol: give one of them a --prefix.

exit codes: 0 all was read (what is refused is counted and kept), 1 nothing could be read of a file that has rows,
            2 an option, a file, a table, TFS_TAPE or the storage is wrong
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = "Put history in files of venues and vendors on the tape at TFS_TAPE."
    parser = make_parser(subparsers, "import", run, about, _EXAMPLE)
    add = parser.add_argument
    add("paths", nargs="*", type=Path, metavar="FILE", help="files; they are recognised before anything is written")
    add("--table", action="append", default=[], metavar="NAME", help="instead of files a raw table (several times)")
    add("--since", type=day, metavar="DATE", help="of raw tables: events of this day (UTC) and later")
    add("--before", type=day, metavar="DATE", help="of raw tables: events of earlier days")
    add("--format", default="", metavar="NAME", help="of a file that is of two formats")
    add(
        "--venue", type=str.lower, default="", metavar="NAME", help="the market of the files, such as binance or kraken"
    )
    given = "the column for a field of the files, or of raw tables (several times)"
    add("--column", type=_given_column, action="append", default=[], metavar="[TABLE:]FIELD=NAME", help=given)
    add_column_options(parser)
    kept = "folder for files of what is refused, with reasons (default: beside the tape, or here if the tape is in S3)"
    add("--refused", type=Path, metavar="PATH", help=kept)
    add("--dry-run", action="store_true", help="say what was recognised and count the messages, and write nothing")
    add("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Import the files."""
    from rich.console import Console
    from rich.progress import Progress

    from ingest import settings
    from ingest.imports import run as imports
    from ingest.imports.rows import Done
    from ingest.imports.tables import run as tables

    conf = settings.load()
    if not conf.tape and not args.dry_run:
        raise settings.SettingsError(
            "TFS_TAPE is empty, so there is no tape; set it to a folder or to s3://bucket/prefix"
        )
    jobs: list[Any] = [_tables(args)] if args.table else imports.plan(*_files(args))
    folder = args.refused or (Path() if "://" in conf.tape else Path(conf.tape).parent) / "refused"
    console = Console(stderr=True)
    with Progress(console=console, disable=args.json or not console.is_terminal) as bar:
        task = bar.add_task("import", total=None)
        for job in jobs:

            def show(done: Done, name: str = job.name) -> None:
                bar.update(task, description=f"{name}: {done.read.total():,} messages")

            importing = tables.run if args.table else imports.run
            importing(job, conf, folder, show, dry=args.dry_run)
            if not args.json:
                print(printable(_text(job, folder, dry=args.dry_run)))
    if args.json:
        print(json.dumps({"files": [_as_json(job) for job in jobs]}))
    wrong = [sentence for sentence in map(imports.unread, jobs) if sentence]
    for sentence in wrong:
        sys.stderr.write(printable(f"error: {sentence}\n"))
    return ExitCode.NO if wrong else ExitCode.DONE


def _as_json(job: Any) -> dict[str, Any]:
    done = job.done
    return {
        "files": [str(path) for path in job.paths],
        "format": job.format.name,
        "lacks": job.format.lacks,
        "market": job.market.name,
        "was_done": done.was_done,
        "read": dict(sorted(done.read.items())),
        "new": done.new,
        "earlier": done.earlier,
        "passed_over": dict(sorted(job.context.passed_over.items())),
        "other_form": done.other_form,
        "refused": dict(sorted(done.refused.items())),
        "symbols": sorted(done.symbols),
        "first_ms": done.first_ms or None,
        "last_ms": done.last_ms or None,
        "notes": list(job.context.notes),
    }


def _text(job: Any, folder: Path, *, dry: bool) -> str:
    from ingest.publish.report import listed, text_rows, utc

    done, context = job.done, job.context
    head = f"{job.name}: {job.format.name}"
    if done.was_done:
        return f"{head}; all of it is on the tape already, and nothing was added"
    names = sorted(done.symbols)
    rows = {
        "symbols": ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "none",
        "time": f"{utc(done.first_ms)} to {utc(done.last_ms)}" if done.last_ms else "none",
        "messages": listed(done.read) + ("" if dry else f"; {done.new:,} new on the tape"),
        **({"before": f"{done.earlier:,} messages of days that the tape has as they are"} if done.earlier else {}),
        "refused": listed(done.refused) + (f", kept in {folder}" if done.refused and not dry else ""),
        "lacking": job.format.lacks,
    }
    if passed := +context.passed_over:
        rows["not used"] = listed(passed)
    if done.other_form:
        rows["other form"] = (
            f"{done.other_form:,} passed over: the tape has the trades of their days one by one, or as aggregates"
        )
    return "\n".join([head, text_rows(rows), *context.notes])


def _given_column(text: str) -> tuple[str, str, str]:
    """Return the table (or none), the field and the column (or none) of ``[TABLE:]FIELD=NAME``.

    >>> _given_column("size=lots"), _given_column("venue=exchange")
    (('', 'size', 'lots'), ('', 'venue', 'exchange'))
    """
    field, _, column = text.partition("=")
    return ("", field, column) if field in _FIELDS and "=" in text else column_of_table(text)


def _files(args: argparse.Namespace) -> tuple[list[Path], GivenColumns, str, str]:
    """Return what `imports.run.plan` is told of files."""
    if not args.paths:
        raise UserError("name files, or raw tables with --table")
    if args.since or args.before:
        raise UserError("--since and --before go with --table")
    fields = []
    for table, field, column in args.column:
        if table or field not in _FIELDS:
            raise UserError(
                f"--column {table and table + ':'}{field}={column} goes with --table; of files, {_OF_FILES}"
            )
        fields.append((field, column))
    return args.paths, replace(given_columns(args), fields=tuple(fields)), args.venue, args.format


def _tables(args: argparse.Namespace) -> Any:
    """Return the import of raw tables."""
    from feature_repo.stores.endpoints import postgres_url
    from ingest.imports.tables.raw import open_source
    from ingest.imports.tables.run import job_of

    of_files = (
        args.paths,
        args.format,
        args.symbol,
        args.text_column,
        args.time_column,
        args.id_column,
        args.symbol_column,
    )
    if any(of_files):
        raise UserError(
            "with --table give no files and no options of files; name columns with --column, such as --column symbol=NAME"
        )
    if args.since and args.before and args.since >= args.before:
        raise UserError("--since must be before --before")
    prefixes = dict(args.prefix)
    if prefixes.keys() - {ANY_FILE}:
        raise UserError("with --table, --prefix names no file")
    url = postgres_url()
    bounds = (None if at is None else ms_of_datetime(at) for at in (args.since, args.before))
    source = open_source(url, args.table, args.column, *bounds)
    return job_of(source, url, venue=args.venue, prefix=prefixes.get(ANY_FILE, ""))
