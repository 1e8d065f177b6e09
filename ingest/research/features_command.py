"""``python -m ingest features``: the catalogue, and which features of a training frame are worth their place."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from ingest.cli import features
from ingest.cli.arguments import duration_ms, make_parser, names

_EXAMPLE = """\
examples:
  python -m ingest features > docs/features.md              regenerate the page
  python -m ingest features rank frame.parquet --html ranking.html
"""
_RANK_EXAMPLE = """\
examples:
  python -m ingest features rank frame.parquet
  python -m ingest features rank frame.parquet --json ranking.json --html ranking.html
  python -m ingest features rank other.parquet --label ret_1m=1m --without row_id --estimator sklearn.linear_model:LassoCV

verdicts: chosen       tells of the coming return beyond chance, and a model loses without it
          repeats      would be chosen, but a better one of its cluster says the same
          looks ahead  knows what comes after its time, as no causal feature does: find out how it was made
          no evidence  the rest
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = "Print the feature catalogue as Markdown: name, type, unit, range, formula, null rule, source. Or rank the features of a frame."
    parser = make_parser(subparsers, "features", features.run, about, _EXAMPLE)
    parser.add_argument("--json", action="store_true", help="print a JSON array of features instead")
    actions = parser.add_subparsers(metavar="action")
    about = (
        "Rank the features of a training frame: rank information coefficient by horizon and period, how steady it is, how long ranks are "
        "kept, what says the same, and what a model loses without it on purged folds. Features that look into the future are named."
    )
    add = make_parser(actions, "rank", rank, about, _RANK_EXAMPLE).add_argument
    add("frame", type=Path, metavar="FRAME", help="a Parquet file with symbol, event_timestamp, features and returns")
    label = "a column of returns and its horizon; may be repeated (default: each column forward_log_return_<h>s)"
    add("--label", type=_label, action="append", default=[], metavar="COLUMN=60s", help=label)
    add("--features", type=names, default=[], help="comma-separated (default: all other columns of numbers)")
    add("--without", type=names, default=[], metavar="COLUMNS", help="comma-separated columns that are no features")
    periods = "length of the periods: 1h, 1d (default: the longest from 1d to 1m of which the frame has twenty)"
    add("--by", type=_period, metavar="DURATION", help=periods)
    estimator = "ridge, or a class with fit and predict, as package.module:Class (default ridge)"
    add("--estimator", default="ridge", help=estimator)
    add(
        "--top",
        type=int,
        default=30,
        metavar="N",
        help="lines of the table (default 30; what looks ahead is always shown)",
    )
    add("--json", dest="json_file", type=Path, metavar="FILE", help="write everything that was measured")
    add("--html", type=Path, metavar="FILE", help="write a page with drawings, in one file")


def _label(text: str) -> tuple[str, int]:
    column, equals, horizon = text.rpartition("=")
    if not equals or not column or not (us := duration_ms(horizon) * 1000):
        raise argparse.ArgumentTypeError(f"{text!r:.60} is no label; write COLUMN=60s")
    return column, us


def _period(text: str) -> int:
    us = duration_ms(text) * 1000
    if us < 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r:.40} is shorter than a second")
    return us


def rank(args: argparse.Namespace) -> None:
    """Rank the features of a frame."""
    from rich.console import Console

    from ingest.research import page, ranking
    from ingest.research.frame import NEWEST_MAX, read

    chosen = {"labels": dict(args.label), "features": args.features, "without": args.without}
    frame, newest = read(args.frame, **chosen), read(args.frame, **chosen, newest=True, rows_max=NEWEST_MAX)
    with Console(stderr=True).status("") as status:
        found = ranking.rank(frame, newest, period=args.by, estimator=args.estimator, say=status.update)
    if args.json_file:
        _write(args.json_file, json.dumps(found, allow_nan=False, indent=1) + "\n")
    if args.html:
        _write(args.html, page.render(found))
    _show(found, args.top)


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _show(found: dict[str, Any], top: int) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    about = found["frame"]
    title = f"{about['rows']:,} rows, {about['first']} to {about['last']}, periods of {found['period_s']:g} s"
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for name in ("", "feature", "verdict", "horizon", "IC", "dev", "t", "loss", "kept"):
        table.add_column(name, justify="left" if name in ("feature", "verdict") else "right", no_wrap=True)
    shown = [one for one in found["features"] if (one["rank"] or 0) <= top]
    for one in shown:
        of = one["horizons"][one["best"]]
        ic, lost, kept = of["ic"], of.get("importance", {}).get("mean"), one["autocorrelation"][one["best"]]
        numbers = [
            _text(ic["mean"]),
            _text(ic["deviation"]),
            _text(of["causal_ic"]["t"], 1),
            _text(lost),
            _text(kept, 2),
        ]
        cells = [str(one["rank"] or ""), escape(one["name"]), one["verdict"], one["best"], *numbers]
        table.add_row(*cells, style={"chosen": "green", "looks ahead": "red"}.get(one["verdict"]))
    Console().print(table)
    for one in shown:
        if one["verdict"] in ("repeats", "looks ahead"):
            print(f"{one['name']}: {one['why']}")
    left = len(found["features"]) - len(shown)
    if left:
        print(f"{left} more features: --top {len(found['features'])}, --json or --html")


def _text(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"
