"""``python -m ingest training-frame``: a leak-free frame with its label, as one Parquet file."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import feature_repo

_UNIT = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "training-frame",
        help="features and forward return on a grid of times",
        description=(
            "Each row holds the features that were known at its time, by created_timestamp, and the forward log return of mid_price, "
            "strictly after that time. Written in slices; the file appears when it is whole."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=(
            "example:\n  python -m ingest training-frame --service signal_v1 --symbols BTCUSDT ETHUSDT \\\n"
            "    --start 2024-08-08T23:55:00 --end 2024-08-09T00:00:00 --every 1s --horizon 60s -o frame.parquet"
        ),
    )
    parser.add_argument("--service", default="signal_v1", help="the feature service (default signal_v1)")
    parser.add_argument("--symbols", required=True, nargs="+", metavar="SYMBOL", help="with spaces or commas between")
    parser.add_argument("--start", required=True, type=moment, help="ISO time; UTC where it names no zone")
    parser.add_argument("--end", required=True, type=moment, help="the last time of the grid")
    parser.add_argument("--every", default=timedelta(seconds=1), type=duration, help="step of the grid (default 1s)")
    parser.add_argument(
        "--horizon", default=timedelta(seconds=60), type=duration, help="of the forward return (default 60s)"
    )
    parser.add_argument("-o", "--output", required=True, type=Path, help="the Parquet file")
    parser.set_defaults(run=run)


def moment(text: str) -> datetime:
    """An ISO time, UTC where it names no zone."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def duration(text: str) -> timedelta:
    """A duration such as ``500ms``, ``1s``, ``5m``, ``2h``, ``1d``.

    >>> duration("90s")
    datetime.timedelta(seconds=90)
    """
    match = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text)
    if match is None or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 500ms, 1s, 5m, 2h or 1d")
    return timedelta(**{_UNIT[match[2]]: int(match[1])})


def run(args: argparse.Namespace) -> int:
    """Write the frame."""
    import psycopg
    from feast import FeatureStore
    from feast.errors import FeastObjectNotFoundException
    from rich.console import Console
    from rich.progress import Progress

    from feature_repo.stores.offline import training

    store = FeatureStore(repo_path=str(Path(feature_repo.__file__).parent))
    symbols = list(dict.fromkeys(symbol for given in args.symbols for symbol in given.split(",") if symbol))
    try:
        rows = training.grid_rows(symbols, args.start, args.end, args.every)
        tables = training.slices(store, args.service, symbols, args.start, args.end, args.every, args.horizon)
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("rows", total=rows)
            written = training.write_parquet(args.output, tables, lambda n: progress.advance(task, n))
    except (ValueError, FeastObjectNotFoundException, OSError, psycopg.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{written:,} rows, label {training.label_name(args.horizon)}, in {args.output}")
    return 0
