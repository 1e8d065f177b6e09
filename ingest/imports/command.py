"""``python -m ingest import``: history as venues and vendors publish it, onto the tape."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ingest.cli import ExitCode, printable
from ingest.cli.arguments import make_parser
from ingest.recordings.columns import BOOK, TRADE, add_column_options, given_columns

_FIELDS = ("timestamp", "symbol", "received", "venue", *TRADE, *BOOK)
_EXAMPLE = """\
examples:
  python -m ingest import BTCUSDT-trades-2025-01-01.zip
  python -m ingest import bybit/*.csv.gz --prefix BYBIT: --venue bybit
  python -m ingest import trades.parquet --venue kraken --symbol XBT/USD --column price=last --column size=lots --time-column at
  python -m ingest import file.csv --dry-run

A file is recognised by its content; docs/import.md lists the formats, and what each cannot give. A format by the names of columns reads
any CSV or Parquet file of trades or whole books; --column says which column is price, size, side (of the aggressor), trade_id, received
and so on. Text may be packed: .gz, .zst, .bz2, .xz, or the only file of a .zip.
The same file twice adds nothing, and an import that was stopped goes on where it was when it is called again.
Two markets are never one symbol: give one of them a --prefix.

exit codes: 0 all was read (what is refused is counted and kept), 1 nothing could be read of a file that has rows,
            2 an option, a file, TFS_TAPE or the storage is wrong
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = "Put history in files of venues and vendors on the tape at TFS_TAPE."
    parser = make_parser(subparsers, "import", run, about, _EXAMPLE)
    add = parser.add_argument
    add("paths", nargs="+", type=Path, metavar="FILE", help="files; they are recognised before anything is written")
    add("--format", default="", metavar="NAME", help="of a file that is of two formats")
    add(
        "--venue", type=str.lower, default="", metavar="NAME", help="the market of the files, such as binance or kraken"
    )
    given = "the file's column for a field (several times)"
    add("--column", type=_given_column, action="append", default=[], metavar="FIELD=NAME", help=given)
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

    conf = settings.load()
    if not conf.tape and not args.dry_run:
        raise settings.SettingsError(
            "TFS_TAPE is empty, so there is no tape; set it to a folder or to s3://bucket/prefix"
        )
    columns = replace(given_columns(args), fields=tuple(args.column))
    jobs = imports.plan(args.paths, columns, venue=args.venue, format_name=args.format)
    folder = args.refused or (Path() if "://" in conf.tape else Path(conf.tape).parent) / "refused"
    console = Console(stderr=True)
    with Progress(console=console, disable=args.json or not console.is_terminal) as bar:
        task = bar.add_task("import", total=None)
        for job in jobs:

            def show(done: Done, name: str = job.name) -> None:
                bar.update(task, description=f"{name}: {done.read.total():,} messages")

            imports.run(job, conf, folder, show, dry=args.dry_run)
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


def _given_column(text: str) -> tuple[str, str]:
    """Return the field and the column of ``FIELD=NAME``.

    >>> _given_column("size=lots")
    ('size', 'lots')
    """
    field, _, column = text.partition("=")
    if field not in _FIELDS or not column:
        raise argparse.ArgumentTypeError(f"write FIELD=NAME, FIELD one of {', '.join(_FIELDS)}")
    return field, column
