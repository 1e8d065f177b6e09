"""``python -m ingest training-frame``: a leak-free frame with its labels, as one Parquet file."""

from __future__ import annotations

import argparse
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import feature_repo
from feature_repo.stores import history
from feature_repo.stores.errors import UserError
from feature_repo.training.bars import KINDS, Bars, BarsError
from feature_repo.training.definitions import AT_TIME, PRICES, Barriers, ForwardReturn, Label
from ingest.cli.arguments import duration, make_parser, moment, names

if TYPE_CHECKING:
    import pyarrow as pa

_EXAMPLE = """\
examples:
  python -m ingest training-frame --service signal_v1 --symbols BTCUSDT ETHUSDT \\
    --start 2024-08-08T23:55:00 --end 2024-08-09T00:00:00 --every 1s --horizon 60s -o frame.parquet
  ... --horizon 10s 60s 5m --price mid long short          nine labels in one pass
  ... --barriers 2:1:5m --weights                          a profit of 2 volatilities, a loss of 1, or 5 minutes
  ... --bars dollar:1000000 --price trade                  a row each time that so much was traded; needs the tape

docs/training.md defines the labels, the bars and the weights.
"""
_HORIZON = timedelta(seconds=60)


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = (
        "Write features and labels at a grid of times, or at the ends of bars. Each row holds the features that were known at its time, by "
        "created_timestamp, and labels of prices strictly after that time. A label is null where its prices have a hole or end, and "
        "<label>_missing says why. The file appears when all of it is written."
    )
    add = make_parser(subparsers, "training-frame", run, about, _EXAMPLE).add_argument
    add("--service", default="signal_v1", help="the feature service (default signal_v1)")
    add("--symbols", required=True, nargs="+", type=names, metavar="SYMBOL", help="with spaces or commas between")
    add("--start", required=True, type=moment, help="ISO time; UTC where it names no zone")
    add("--end", required=True, type=moment, help="the last time of the grid")
    add("--every", default=timedelta(seconds=1), type=duration, help="step of the grid: 250ms, 1s, 5m, 1h (default 1s)")
    bars = f"in place of the grid the ends of bars of trades on the tape; KIND is one of {', '.join(KINDS)}"
    add("--bars", type=bars_of_text, metavar="KIND:SIZE[:MEMORY]", help=bars)
    horizon = "of the forward returns, in the same form, one or more (default 60s, none with --barriers)"
    add("--horizon", nargs="+", type=duration, metavar="TIME", help=horizon)
    prices = "of the labels: mid; trade, from the tape; long or short, which pay the spread; one or more (default mid)"
    add("--price", nargs="+", choices=PRICES, default=["mid"], help=prices)
    barriers = "triple barriers, one or more: widths of profit and loss in volatilities (0 is none), and the time"
    add("--barriers", nargs="+", type=barriers_of_text, default=[], metavar="PROFIT:LOSS:TIME", help=barriers)
    add(
        "--volatility", default="volatility_5m", help="the feature in which widths are measured (default volatility_5m)"
    )
    at_time = "label where no barrier was passed: the sign of the return (default), or zero"
    add("--at-time", choices=AT_TIME, default="sign", help=at_time)
    hole = "prices that are further apart have a hole between them (default 10s for the book, 1m for trades)"
    add("--hole", type=duration, metavar="TIME", help=hole)
    add("--weights", action="store_true", help="add <label>_weight: how little a label shares its time with others")
    histories = (
        "which rows count where there are served and recomputed ones: served is what models were fed, recomputed is what the newest "
        "backfill computed, where a new feature has its past (default: as offline_store of feature_store.yaml says, or else served). "
        "The file names it in its metadata"
    )
    add("--history", choices=history.NAMES, help=histories)
    add("-o", "--output", required=True, type=Path, help="the Parquet file")


def bars_of_text(text: str) -> Bars:
    """Return bars of ``KIND:SIZE`` or ``KIND:SIZE:MEMORY``.

    >>> bars_of_text("dollar_imbalance:500:10")
    Bars(kind='dollar_imbalance', size=500.0, memory=10)
    """
    kind, *numbers = text.split(":")
    try:
        size, memory = float(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 20
        if len(numbers) > 2:
            raise ValueError
        return Bars(kind, size, memory)  # type: ignore[arg-type]  # it is checked there
    except BarsError as error:
        raise ArgumentTypeError(str(error)) from error
    except (ValueError, IndexError) as error:
        raise ArgumentTypeError(f"{text!r:.40} are no bars; write volume:100 or tick_imbalance:500:20") from error


def barriers_of_text(text: str) -> tuple[float, float, timedelta]:
    """Return the widths and the time of ``PROFIT:LOSS:TIME``.

    >>> barriers_of_text("2:1:5m")
    (2.0, 1.0, datetime.timedelta(seconds=300))
    """
    try:
        profit, loss, time = text.split(":")
        return float(profit), float(loss), duration(time)
    except ValueError:
        raise ArgumentTypeError(f"{text!r:.40} are no barriers; write 2:1:5m") from None


def labels_of(args: argparse.Namespace) -> list[Label]:
    """Return the labels that the options ask for."""
    horizons = args.horizon or ([] if args.barriers else [_HORIZON])
    labels: list[Label] = [
        ForwardReturn(horizon, price, args.hole)
        for price in dict.fromkeys(args.price)
        for horizon in dict.fromkeys(horizons)
    ]
    for price in dict.fromkeys(args.price):
        for profit, loss, time in dict.fromkeys(args.barriers):
            labels.append(Barriers(time, price, args.hole, profit, loss, args.volatility, args.at_time))
    return labels


def run(args: argparse.Namespace) -> None:
    """Write the frame."""
    from feast import FeatureStore
    from feast.errors import FeastObjectNotFoundException
    from rich.console import Console
    from rich.progress import Progress

    from feature_repo.training import frames
    from feature_repo.training.labelling import Labels
    from ingest.training import sampling

    store = FeatureStore(repo_path=str(Path(feature_repo.__file__).parent))
    symbols = list(dict.fromkeys(chain.from_iterable(args.symbols)))
    rows = frames.grid_rows(symbols, args.start, args.end, args.every)
    if not symbols:
        raise UserError("at least one symbol is needed")
    definitions = labels_of(args)
    read = args.history or frames.history_of(store)
    nulls: dict[str, Counter[str]] = {label.column: Counter() for label in definitions}
    try:
        with history.reading(read), ExitStack() as stack, Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("rows", total=None if args.bars else rows)
            sources, moments = frames.book_prices(store), frames.grid(symbols, args.start, args.end, args.every)
            if args.bars or "trade" in args.price:
                taped = stack.enter_context(sampling.trades(symbols, args.start, args.end, definitions))
                sources["trade"] = taped
                if args.bars:
                    moments = frames.sampled(sampling.ends(taped, args.bars, symbols, args.start, args.end))
            labels = Labels(definitions, sources)
            tables = frames.frames(store, args.service, moments, labels, weights=args.weights)
            tables = _counted(tables, nulls)
            written = frames.write_parquet(args.output, tables, lambda n: progress.advance(task, n))
    except FeastObjectNotFoundException as error:
        raise UserError(str(error)) from error
    if not written:
        raise UserError("no bar of these trades ended in this time; nothing is written")
    print(f"{written:,} rows, history {read}, in {args.output}")
    for name, counted in nulls.items():
        why = ", ".join(f"{n:,} {reason}" for reason, n in sorted(counted.items()))
        print(f"  {name}: {written - counted.total():,} labels, {counted.total():,} null{': ' if why else ''}{why}")


def _counted(tables: Iterable[pa.Table], nulls: dict[str, Counter[str]]) -> Iterator[pa.Table]:
    """Yield the tables, and count why labels are null."""
    for table in tables:
        for name, counted in nulls.items():
            for found in table.column(f"{name}_missing").value_counts().to_pylist():
                if found["values"] is not None:
                    counted[found["values"]] += found["counts"]
        yield table
