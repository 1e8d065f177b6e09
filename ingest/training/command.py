"""``python -m ingest training-frame``: a leak-free frame with its label, as one Parquet file."""

from __future__ import annotations

import argparse
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import feature_repo
from feature_repo.stores import history
from feature_repo.stores.errors import UserError
from ingest.cli.arguments import duration, make_parser, moment, names

_EXAMPLE = """\
example:
  python -m ingest training-frame --service signal_v1 --symbols BTCUSDT ETHUSDT \\
    --start 2024-08-08T23:55:00 --end 2024-08-09T00:00:00 --every 1s --horizon 60s -o frame.parquet
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = (
        "Write features and the forward return on a grid of times. Each row holds the features that were known at its time, by "
        "created_timestamp, and the log return of mid_price strictly after that time. The file appears when all of it is written."
    )
    add = make_parser(subparsers, "training-frame", run, about, _EXAMPLE).add_argument
    add("--service", default="signal_v1", help="the feature service (default signal_v1)")
    add("--symbols", required=True, nargs="+", type=names, metavar="SYMBOL", help="with spaces or commas between")
    add("--start", required=True, type=moment, help="ISO time; UTC where it names no zone")
    add("--end", required=True, type=moment, help="the last time of the grid")
    add("--every", default=timedelta(seconds=1), type=duration, help="step of the grid: 250ms, 1s, 5m, 1h (default 1s)")
    add(
        "--horizon",
        default=timedelta(seconds=60),
        type=duration,
        help="of the forward return, in the same form (default 60s)",
    )
    histories = (
        "which rows count where there are served and recomputed ones: served is what models were fed, recomputed is what the newest "
        "backfill computed, where a new feature has its past (default: as offline_store of feature_store.yaml says, or else served). "
        "The file names it in its metadata"
    )
    add("--history", choices=history.NAMES, help=histories)
    add("-o", "--output", required=True, type=Path, help="the Parquet file")


def run(args: argparse.Namespace) -> None:
    """Write the frame."""
    from feast import FeatureStore
    from feast.errors import FeastObjectNotFoundException
    from rich.console import Console
    from rich.progress import Progress

    from feature_repo.stores.offline import training

    store = FeatureStore(repo_path=str(Path(feature_repo.__file__).parent))
    symbols = list(dict.fromkeys(chain.from_iterable(args.symbols)))
    rows = training.grid_rows(symbols, args.start, args.end, args.every)
    read = args.history or training.history_of(store)
    try:
        tables = training.slices(store, args.service, symbols, args.start, args.end, args.every, args.horizon)
        with history.reading(read), Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("rows", total=rows)
            written = training.write_parquet(args.output, tables, lambda n: progress.advance(task, n))
    except FeastObjectNotFoundException as error:
        raise UserError(str(error)) from error
    print(f"{written:,} rows, label {training.label_name(args.horizon)}, history {read}, in {args.output}")
