"""``python -m ingest check lookahead`` and ``check warmup``: check every feature on any recording."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ingest.check import consistency_command, served_log_command
from ingest.cli import ExitCode, printable
from ingest.cli.arguments import count, make_parser, names, share
from ingest.publish.report import report_unread
from ingest.recordings.columns import add_column_options, given_columns
from ingest.tape.options import add_tape_options, check_tape_options

_EXAMPLE = """\
examples:
  python -m ingest check lookahead btcusdt.jsonl.gz ethusdt.jsonl.gz
  python -m ingest check warmup btcusdt.jsonl.gz --starts 0.1 0.5
  python -m ingest check lookahead trades.parquet books.csv --symbol OKCOIN:BTC-CNY
  python -m ingest check warmup --from-tape --symbols BTCUSDT --since 2026-11-20 --before 2026-11-21

lookahead  the value at t from the data up to t is the value at t from all data, bit for bit
warmup     values do not depend on where the history began, once a feature's stated warm-up has passed: bit for bit for
           windows and z-scores, within 1e-6 of the largest value for recursions; a session feature (since 00:00 UTC, or the
           instrument's opening) is compared in sessions that both histories heard whole

files and the tape are read as they are needed, so that memory depends on the number of symbols (and of posts in files), and not on
the length of the recording; --from-tape reads what the logs had and what was imported, and leaves out what only made time pass

posts of files get stand-in scores and microprice a stand-in table: the checks test times, not the model or the fit
exit codes: 0 all agree, 1 something differs or there was nothing to compare, 2 an option, a file or the tape is wrong
"""


def add_parser(subparsers: Any) -> None:
    """Add ``check`` and its two checks."""
    parser = make_parser(subparsers, "check", None, "Check every feature on recordings; no server is needed.", _EXAMPLE)
    checks = parser.add_subparsers(metavar="check", required=True, dest="check")
    for name, about in (("lookahead", "truncated data give the same values"), ("warmup", "so does a later start")):
        one = make_parser(checks, name, run, about, _EXAMPLE)
        add = one.add_argument
        add("paths", nargs="*", type=Path, metavar="PATH", help="recordings, as for replay")
        add("--symbols", type=names, default=[], help="only these, comma-separated")
        add_tape_options(one, symbols=False)
        add_column_options(one)
        add("--json", action="store_true", help="print one JSON object")
        if name == "lookahead":
            add("--samples", type=count, default=200, metavar="N", help="boundaries a symbol (default 200)")
        else:
            add("--starts", type=share, nargs="+", metavar="SHARE", help="of the recording (default 0.1 0.35 0.6)")
    consistency_command.add_parser(checks)
    served_log_command.add_parser(checks)


def run(args: argparse.Namespace) -> int:
    """Run one check on the recordings."""
    from rich.console import Console

    from ingest import settings
    from ingest.check import lookahead, result, warmup
    from ingest.check.recording import Messages
    from ingest.check.taped import TapedMessages
    from ingest.tape.table import open_tape

    check_tape_options(args, symbols=False)
    conf = settings.load()
    messages: Messages | TapedMessages
    if args.from_tape:
        messages = TapedMessages(open_tape(conf), conf, args.symbols, args.since, args.before)
    else:
        messages = Messages(args.paths, conf, args.symbols, given_columns(args))
    console = Console(stderr=True)
    with console.status(f"check {args.check}"):  # shown on a terminal only
        if args.check == "lookahead":
            found = lookahead.lookahead(messages, conf, samples=args.samples)
        else:
            found = warmup.warmup(messages, conf, starts=args.starts or warmup.STARTS)
    for name in sorted(set(args.symbols) - messages.symbols):
        sys.stderr.write(f"{name}: no message\n")
    for sentence in conf.unheard(messages.symbols):
        sys.stderr.write(printable(f"{sentence}\n"))
    title = f"check {args.check}: {', '.join(sorted(messages.symbols)) or 'no symbol'}"
    result.show(found, title, messages.refused, as_json=args.json)
    return ExitCode.NO if report_unread(messages.unread) or result.failed(found) else ExitCode.DONE
