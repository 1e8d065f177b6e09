"""What a check found, a feature a line."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from transforms.catalog import VIEWS, View
from transforms.times import iso_of_us


@dataclass(slots=True)
class Result:
    """One feature.

    Attributes
    ----------
    view, feature:
        Its names.
    compared:
        Values held against each other, nulls included.
    values:
        Those of them that are not null.
    differing:
        Those that should agree and do not.
    example:
        The first of these: where, and both values.
    note:
        What was left out, and why.
    """

    view: str
    feature: str
    compared: int = 0
    values: int = 0
    differing: int = 0
    example: str = ""
    note: str = ""

    def add(self, symbol: str, t_us: int, expected: float, found: float, *, within: float = 0.0) -> None:
        """Compare two values: by their bits where ``within`` is 0, else by their distance; null agrees with null only."""
        self.compared += 1
        self.values += expected == expected
        if _agree(expected, found, within):
            return
        self.differing += 1
        if not self.example:
            self.example = f"{symbol} at {iso_of_us(t_us)}: {expected!r}, not {found!r}"


def _agree(expected: float, found: float, within: float) -> bool:
    if math.isnan(expected) or math.isnan(found):
        return math.isnan(expected) and math.isnan(found)
    if within:
        return abs(expected - found) <= within
    return struct.pack("d", expected) == struct.pack("d", found)


def results() -> dict[tuple[str, str], Result]:
    """An empty result a feature, in the order of the catalogue."""
    return {(view.name, name): Result(view.name, name) for view in VIEWS for name in view.names}


def values(view: View, row: bytes | None) -> Sequence[float]:
    """The values of a row; all null where there is none."""
    n = len(view.features)
    return [math.nan] * n if row is None else struct.unpack(f"{n}d", row)


def compare(
    into: Mapping[tuple[str, str], Result],
    symbol: str,
    t_us: int,
    expected: Mapping[str, bytes],
    found: Mapping[str, bytes],
) -> None:
    """Compare the rows of all views at one boundary, bit for bit; a row that only one has differs in every feature that it knows."""
    for view in VIEWS:
        if view.name not in expected and view.name not in found:
            continue
        pairs = zip(values(view, expected.get(view.name)), values(view, found.get(view.name)), strict=True)
        for name, (a, b) in zip(view.names, pairs, strict=True):
            into[view.name, name].add(symbol, t_us, a, b)


def failed(found: Sequence[Result]) -> bool:
    """Whether anything differs, or nothing was compared at all."""
    return any(r.differing for r in found) or not any(r.compared for r in found)


def show(found: Sequence[Result], title: str, refused: Mapping[str, int], *, as_json: bool) -> None:
    """Print the table, features that differ first, and what it comes to; or one JSON object.

    ``refused`` are lines of the recording that were no part of it, by reason.
    """
    console = Console()
    n_differing = sum(r.differing for r in found)
    passed = not failed(found)
    if as_json:
        features = [{name: getattr(r, name) for name in Result.__slots__} for r in found]
        console.file.write(
            json.dumps(
                {"check": title, "passed": passed, "refused": dict(sorted(refused.items())), "features": features}
            )
            + "\n"
        )
        return
    table = Table(title=title, title_justify="left")
    for heading in ("view", "feature"):
        table.add_column(heading, no_wrap=True)
    for heading in ("compared", "not null", "differing"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for r in sorted(found, key=lambda r: not r.differing):
        table.add_row(r.view, r.feature, *_counts(r), r.example or r.note, style="red" if r.differing else None)
    console.print(table)
    if refused:
        console.print("lines refused: " + ", ".join(f"{n:,} {reason}" for reason, n in sorted(refused.items())))
    if not any(r.compared for r in found):
        console.print("FAILED: there was nothing to compare")
        return
    silent = sum(not r.values for r in found)
    console.print(
        f"{'passed' if passed else 'FAILED'}: {sum(r.compared for r in found):,} values of {len(found)} features compared, "
        f"{n_differing:,} differ; {silent} features had no value to compare in this recording"
    )


def _counts(r: Result) -> tuple[Any, ...]:
    return f"{r.compared:,}", f"{r.values:,}", f"{r.differing:,}"
