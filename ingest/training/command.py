"""``python -m ingest training-frame``: a leak-free frame with its labels, as one Parquet file."""

from __future__ import annotations

import argparse
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import feature_repo
from feature_repo.stores import history
from feature_repo.stores.errors import UserError
from feature_repo.training.bars import KINDS, Bars, BarsError
from feature_repo.training.definitions import AT_TIME, PRICES, Barriers, ForwardReturn, Label, label_of
from ingest.cli import ExitCode
from ingest.cli.arguments import duration, make_parser, moment, names
from transforms.times import us_of_duration

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore

_EXAMPLE = """\
examples:
  python -m ingest training-frame --service signal_v1 --symbols BTCUSDT ETHUSDT \\
    --start 2024-08-08T23:55:00 --end 2024-08-09T00:00:00 --every 1s --horizon 60s -o frame.parquet
  ... --horizon 10s 60s 5m --price mid long short          nine labels in one pass
  ... --barriers 2:1:5m --weights                          a profit of 2 volatilities, a loss of 1, or 5 minutes
  ... --bars dollar:1000000 --price trade                  a row each time that so much was traded; needs the tape

  ... --from frame.parquet.manifest.json -o again.parquet  the same frame again, where data and code are the same

docs/training.md defines the labels, the bars and the weights.
exit codes: 0 done, 1 the frame of a manifest has other bytes now, 2 an option or a server is wrong, or data or code are not the manifest's
"""
_HORIZON = timedelta(seconds=60)
_US = timedelta(microseconds=1)


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = (
        "Write features and labels at a grid of times, or at the ends of bars. Each row holds the features that were known at its time, by "
        "created_timestamp, and labels of prices strictly after that time. A label is null where its prices have a hole or end, and "
        "<label>_missing says why. The file appears when all of it is written."
    )
    add = make_parser(subparsers, "training-frame", run, about, _EXAMPLE).add_argument
    add("--service", default="signal_v1", help="the feature service (default signal_v1)")
    add("--symbols", nargs="+", type=names, metavar="SYMBOL", help="with spaces or commas between")
    add("--start", type=moment, help="ISO time; UTC where it names no zone")
    add("--end", type=moment, help="the last time of the grid")
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
    add("-o", "--output", required=True, type=Path, help="the Parquet file; its manifest is put beside it")
    again = "make the frame of a manifest again, in place of all options above; refused where its data or code are others now"
    add("--from", dest="manifest", type=Path, metavar="MANIFEST", help=again)
    add("--anyway", action="store_true", help="with --from: say what differs, and go on")


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


def query_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the options ask for, as JSON has it."""
    if not (args.symbols and args.start and args.end):
        raise UserError("give --symbols, --start and --end, or --from a manifest")
    symbols = list(dict.fromkeys(chain.from_iterable(args.symbols)))
    if not symbols:
        raise UserError("at least one symbol is needed")
    return {
        "service": args.service,
        "symbols": symbols,
        "start": args.start.isoformat(),
        "end": args.end.isoformat(),
        "every_us": us_of_duration(args.every),
        "bars": args.bars and asdict(args.bars),
        "labels": [label.described() for label in labels_of(args)],
        "weights": args.weights,
        "history": args.history,
    }


def run(args: argparse.Namespace) -> int:
    """Write the frame and its manifest."""
    from feast import FeatureStore
    from feast.errors import FeastObjectNotFoundException

    from feature_repo.training import frames, manifest, memory

    memory.keep()
    store = FeatureStore(repo_path=str(Path(feature_repo.__file__).parent))
    kept = manifest.read(args.manifest) if args.manifest else None
    if kept and (args.symbols or args.start or args.end):
        raise UserError("--from has symbols and times; leave --symbols, --start and --end out")
    query = kept["query"] if kept else query_of(args)
    query["history"] = query["history"] or frames.history_of(store)
    try:
        now = _versions(store, query, kept)
        differing = manifest.differences(kept, now) if kept else []
        if kept and kept["query"]["features"] != now["query"]["features"]:
            differing.append(f"{query['service']} has other features")
        if differing and not args.anyway:
            raise UserError(
                f"the frame cannot be made again: {'; '.join(differing)}. Use --anyway to make it all the same"
            )
        _write(store, now, args.output)
    except FeastObjectNotFoundException as error:
        raise UserError(str(error)) from error
    manifest.write(args.output, now)
    if kept is None:
        return ExitCode.DONE
    for text in differing:
        print(f"  {text}")
    same = manifest.hash_of(args.output) == kept["frame"]["sha256"]
    print("the same bytes as in the manifest" if same else "other bytes than in the manifest")
    return ExitCode.DONE if same else ExitCode.NO


def _versions(store: FeatureStore, query: Mapping[str, Any], kept: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the manifest of a frame that is made now, but for the frame."""
    from feature_repo.training import frames, manifest
    from ingest.training import sampling

    labels = [label_of(one) for one in query["labels"]]
    start, end = (datetime.fromisoformat(query[name]) for name in ("start", "end"))
    frames.grid_rows(query["symbols"], start, end, query["every_us"] * _US)
    tape = None
    if query["bars"] or any(label.price == "trade" for label in labels):
        tape = (kept or {}).get("tape") or sampling.tape_version()
    ahead = max((label.horizon for label in labels), default=timedelta(0))
    pause = max((label.longest_pause for label in labels), default=timedelta(0))
    books = any(label.price != "trade" for label in labels)
    data = manifest.data_version(store, query["service"], query["symbols"], (start, end), ahead, pause, labelled=books)
    features = manifest.features_of(store, query["service"])
    code = manifest.code_version(Path(__file__).parent)
    return {"query": {**query, "features": features}, "code": code, "data": data, "tape": tape}


def _write(store: FeatureStore, now: Mapping[str, Any], output: Path) -> None:
    """Write the frame, and say what is in it."""
    from rich.console import Console
    from rich.progress import Progress

    from feature_repo.training import frames
    from feature_repo.training.labelling import Labels
    from ingest.training import sampling

    query = now["query"]
    symbols, every = query["symbols"], query["every_us"] * _US
    start, end = (datetime.fromisoformat(query[name]) for name in ("start", "end"))
    definitions = [label_of(one) for one in query["labels"]]
    rows = frames.grid_rows(symbols, start, end, every)
    nulls: dict[str, Counter[str]] = {label.column: Counter() for label in definitions}
    with history.reading(query["history"]), ExitStack() as stack, Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("rows", total=None if query["bars"] else rows)
        sources, moments = frames.book_prices(store), frames.grid(symbols, start, end, every)
        if now["tape"]:
            trades = sampling.trades(symbols, start, end, definitions, now["tape"]["version"])
            sources["trade"] = taped = stack.enter_context(trades)
            if query["bars"]:
                bars = Bars(**query["bars"])
                moments = frames.sampled(sampling.ends(taped, bars, symbols, start, end))
        labels = Labels(definitions, sources)
        tables = frames.frames(store, query["service"], moments, labels, weights=query["weights"])
        written = frames.write_parquet(output, _counted(tables, nulls), lambda n: progress.advance(task, n))
    if not written:
        raise UserError("no bar of these trades ended in this time; nothing is written")
    print(f"{written:,} rows, history {query['history']}, in {output}")
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
