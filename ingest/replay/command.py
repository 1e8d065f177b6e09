"""``python -m ingest replay``: recordings into the streams."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.stores.endpoints import redis_url
from ingest.publish import report
from ingest.publish.sink import NotReadError
from ingest.recordings import options
from ingest.recordings.rows import TableFileError
from ingest.replay.run import replay
from ingest.settings import load
from ingest.streams.outage import open_redis

if TYPE_CHECKING:
    SubParsers = argparse._SubParsersAction[argparse.ArgumentParser]

_EXAMPLE = """\
example:
  python -m ingest replay btcusdt.jsonl.gz ethusdt.jsonl.gz    both, merged by receive time, as fast as it goes
  python -m ingest replay btcusdt.jsonl.gz --speed 1           in real time
  python -m ingest replay btcusdt.jsonl.gz --rebase now        moved in time so that it ends now
  python -m ingest replay tweets.parquet --time-column posted --symbol-column ticker
  python -m ingest replay trades.parquet books.csv --symbol OKCOIN:BTC-CNY

a line of a text file is a raw Binance message behind its receive time in nanoseconds, or one JSON message of
order_book, market_data or social_data; .parquet and .csv hold trades (columns price, size, side, ...), books (bids and
asks, or bid_px_0, bid_qty_0, ask_px_0, ...) or posts
exit codes: 0 all was read (refused lines are in the dead letters), 1 it could not go on
"""


def add_parser(subparsers: SubParsers) -> argparse.ArgumentParser:
    """Add ``replay``; it sets ``run``, a function of the parsed arguments to an exit code."""
    parser = subparsers.add_parser(
        "replay",
        help="recordings into the streams",
        description="Publish recordings: raw Binance captures, JSON lines of our messages, trades, books and posts as Parquet or CSV.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files; text may be gzipped")
    parser.add_argument(
        "--speed", type=_speed, default=0.0, metavar="X", help="times real time; 0, the default, as fast as it goes"
    )
    parser.add_argument("--rebase", choices=["now"], help="move all times so that the recording ends now")
    parser.add_argument("--limit", type=_count, metavar="N", help="read the first N lines or rows of each file")
    options.add_options(parser)
    parser.add_argument("--json", action="store_true", help="print the counts as one JSON object")
    parser.set_defaults(run=_run)
    return parser


def _run(args: argparse.Namespace) -> int:
    settings = load()
    with open_redis(redis_url()) as client, report.live("replay", quiet=args.json) as progress:
        try:
            counts = replay(
                args.paths,
                client,
                settings,
                speed=args.speed,
                rebase=args.rebase,
                limit=args.limit,
                columns=options.chosen(args),
                progress=progress,
            )
        except (NotReadError, TableFileError, OSError) as error:
            sys.stderr.write(f"{error}\n")
            return 1
    report.finish(counts, as_json=args.json)
    return 0


def _speed(text: str) -> float:
    speed = float(text)
    if not 0.0 <= speed < float("inf"):
        raise argparse.ArgumentTypeError("must be 0 or more")
    return speed


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return count
