"""``python -m ingest features``: the catalogue as the page ``docs/features.md``, or as JSON.

After a change of the catalogue: ``python -m ingest features > docs/features.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from typing import Any

from ingest.cli.arguments import make_parser
from transforms.catalog import FEATURE_VECTOR_V1, VIEWS, Feature, Feed, View

_HEAD = """\
# Features

Every feature, from `transforms/catalog.py`. This page is generated: `python -m ingest features > docs/features.md`.

All are per `symbol`. A row of a view is stamped with a time t of the grid and covers all events with time <= t; windows are
`(t - w, t]` in event time. A view gives no row once its feed has been silent for its ttl, and an older value is not served.
A value is null, never a default, when the column *null when* applies; that includes the warm-up after a start. A value outside the
range becomes null and is counted. `m` is the mid price, `P`, `Q` price and size, `b` bid, `a` ask, `p`, `q` price and size of a trade,
`s` its side (1 bought, -1 sold), `r` a log return.
"""
_FEEDS: dict[Feed, str] = {
    "book": "order book",
    "trade": "trades",
    "post": "posts",
    "derivatives": "derivatives and liquidations",
    "neighbour": "rows of other symbols",
    "derived": "the other views",
}
_COLUMNS = ("name", "type", "unit", "range", "formula", "null when", "source")


def page() -> str:
    """Return the page, as Markdown."""
    parts = [_HEAD, *map(_view, VIEWS)]
    names = ", ".join(f"`{name}`" for name in FEATURE_VECTOR_V1)
    parts.append(
        f"## Service `feature_vector_v1`\n\nIn this order: {names}.\n\n"
        "`feature_vector_normalized_v1` is the view `normalized`, in the same order.\n\n"
        "`feature_vector_v2` is the same and then the views `derivatives` and `context`. It is not released yet, and may grow.\n"
    )
    return "\n".join(parts)


def _view(view: View) -> str:
    kind = _FEEDS[view.feed]
    head = f"{view.description} Feed: {kind}. ttl: {view.ttl_s} s. Features: {len(view.features)}."
    rows = [_COLUMNS, *map(_cells, view.features)]
    table = [f"| {' | '.join(row)} |" for row in rows]
    table.insert(1, f"|{'---|' * len(_COLUMNS)}")
    return "\n".join([f"## {view.name}", "", head, "", *table, ""])


def _cells(feature: Feature) -> list[str]:
    texts = (feature.unit, _range(feature), feature.formula, feature.null_when, feature.source)
    return [f"`{feature.name}`", feature.dtype, *(_escaped(text) for text in texts)]


def _range(feature: Feature) -> str:
    """Return the closed range; an infinite end is open.

    >>> _range(Feature("x", "", 0, math.inf, ""))
    '[0, inf)'
    """
    low = f"[{feature.low:g}" if math.isfinite(feature.low) else "(-inf"
    high = f"{feature.high:g}]" if math.isfinite(feature.high) else "inf)"
    return f"{low}, {high}"


def _escaped(text: str) -> str:
    """Escape what Markdown would read as its own: ``|`` would end the cell, and formulas hold ``*`` and ``_``."""
    for mark in ("\\", "|", "*", "_", "<"):
        text = text.replace(mark, f"\\{mark}")
    return text


def _as_json() -> list[dict[str, Any]]:
    """Return the features; an infinite end of a range is None, because JSON has no infinity."""
    finite = {math.inf: None, -math.inf: None}
    return [
        {"view": view.name, "feed": view.feed, "ttl_s": view.ttl_s}
        | {name: finite.get(value, value) for name, value in asdict(feature).items()}
        for view in VIEWS
        for feature in view.features
    ]


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    about = "Print the feature catalogue as Markdown: name, type, unit, range, formula, null rule, source."
    example = "example:\n  python -m ingest features > docs/features.md    regenerate the page"
    parser = make_parser(subparsers, "features", run, about, example)
    parser.add_argument("--json", action="store_true", help="print a JSON array of features instead")


def run(args: argparse.Namespace) -> None:
    """Print the catalogue."""
    sys.stdout.write(json.dumps(_as_json()) + "\n" if args.json else page())
