"""``python -m ingest replay``: publish recordings to the streams."""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from feature_repo.stores.errors import UserError
from ingest.cli.arguments import count, make_parser, non_negative
from ingest.publish import report
from ingest.recordings.columns import add_column_options, given_columns
from ingest.replay.entries import are_exports, of_exports, replay_entries
from ingest.replay.leaders import with_rows
from ingest.replay.run import replay
from ingest.settings import load
from ingest.streams import deployment
from ingest.tape.options import add_tape_options, check_tape_options
from ingest.tape.period import in_order
from ingest.tape.table import of_tape, open_tape

_EXAMPLE = """\
example:
  python -m ingest replay btcusdt.jsonl.gz ethusdt.jsonl.gz    both, merged by receive time, as fast as it goes
  python -m ingest replay btcusdt.jsonl.gz --speed 1           in real time
  python -m ingest replay btcusdt.jsonl.gz --rebase now        moved in time so that it ends now
  python -m ingest replay tweets.parquet --time-column posted --symbol-column ticker
  python -m ingest replay trades.parquet books.csv --symbol OKCOIN:BTC-CNY
  python -m ingest replay spot.jsonl.gz perp.jsonl.gz --prefix perp.jsonl.gz=BINANCE-FUTURES:
  python -m ingest replay --from-tape --since 2026-11-20T10:00 --before 2026-11-20T11:00
  python -m ingest replay --from-tape --imported --symbols BTCUSDT    what the logs had, and what came from files

a line of a text file is a receive time in nanoseconds followed by a raw Binance message, or one JSON message of
order_book, market_data, derivatives, liquidation or social_data; .parquet and .csv hold trades (columns price, size,
side, ...), books (bids and asks, or bid_px_0, bid_qty_0, ask_px_0, ...) or posts; text and .csv may be packed: .gz, .zst, .bz2, .xz, or the
only file of a .zip; a file that `tape export` wrote, or --from-tape, goes into the logs with the bytes that it had there;
a replay into the deployment that writes this tape puts the entries on it once more
exit codes: 0 all was read (refused lines are in the dead letters), 1 nothing could be read of a file that has rows,
            2 a file, an option or a server is wrong
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = "Publish recordings: raw Binance captures, JSON lines of our messages, or trades, books and posts as Parquet or CSV."
    parser = make_parser(subparsers, "replay", run, about, _EXAMPLE)
    add = parser.add_argument
    add("paths", nargs="*", type=Path, metavar="PATH", help="files")
    speed = "times real time; 0, the default, as fast as it goes"
    add("--speed", type=non_negative, default=0.0, metavar="X", help=speed)
    add_tape_options(parser)
    add("--imported", action="store_true", help="of the tape also what `import` put there from files")
    add("--rebase", choices=["now"], help="move all times so that the recording ends now")
    add("--limit", type=count, metavar="N", help="read the first N lines or rows of each file")
    add_column_options(parser)
    add("--json", action="store_true", help="print the counts as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Replay the recordings."""
    settings = load()
    check_tape_options(args)
    if args.imported and not args.from_tape:
        raise UserError("--imported goes with --from-tape")
    is_taped = args.from_tape or are_exports(args.paths)
    if is_taped and args.rebase:
        raise UserError("--rebase is not for a tape or its exports: their entries keep their times")
    with deployment.opened(settings) as (client, settings), report.live("replay", quiet=args.json) as progress:
        if is_taped:
            n = settings.partitions
            if args.from_tape:
                period = args.since, args.before, args.symbols
                tape = open_tape(settings)
                if (of := of_tape(tape, settings).partitions) != n:
                    raise UserError(
                        f"the tape has {of} partitions and this deployment {n}: replay it into one with TFS_PARTITIONS={of}"
                    )
                entries = in_order(tape, settings, *period, imported=args.imported)
                if args.imported:
                    entries = with_rows(entries, settings)
            else:
                entries = of_exports(args.paths, n)
            counts = replay_entries(
                islice(entries, args.limit), client, n, number=settings.number, speed=args.speed, progress=progress
            )
        else:
            counts = replay(
                args.paths,
                client,
                settings,
                speed=args.speed,
                rebase=args.rebase,
                limit=args.limit,
                columns=given_columns(args),
                progress=progress,
            )
    report.finish(counts, as_json=args.json)
    if args.from_tape and not counts.lines and not args.imported:
        sys.stderr.write("nothing arrived in a log in that time; --imported replays also what came from files\n")
    return report.report_unread(counts.unread)
