"""What a check found: one result per feature, and the table that shows them."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from transforms.catalog import VIEWS, View
from transforms.times import iso_of_us

Key = tuple[str, str]
"""View and feature."""


@dataclass(slots=True)
class Result:
    """What was found for one feature.

    Attributes
    ----------
    compared, values, differing : int
        Pairs of values that were compared (nulls included), those whose expected value is not null, and those that do not agree.
    example : str
        The first pair that does not agree: symbol, time and both values.
    note : str
        What was not compared, and why.
    """

    view: str
    feature: str
    compared: int = 0
    values: int = 0
    differing: int = 0
    example: str = ""
    note: str = ""

    def add(self, symbol: str, t_us: int, expected: float, found: float, *, within: float = 0.0) -> None:
        """Compare two values: by their bits if ``within`` is 0, else by their distance. Null agrees only with null."""
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


def results() -> dict[Key, Result]:
    """Return an empty result for each feature, in the order of the catalogue."""
    return {(view.name, name): Result(view.name, name) for view in VIEWS for name in view.names}


def pairs(expected: Mapping[str, bytes], found: Mapping[str, bytes]) -> Iterator[tuple[Key, float, float]]:
    """Yield each feature with its two values, from the rows of one boundary by view.

    A row that only one side has is compared with nulls; a view that neither side has is skipped.
    """
    for view in VIEWS:
        if view.name in expected or view.name in found:
            rows = (_values(view, side.get(view.name)) for side in (expected, found))
            for name, a, b in zip(view.names, *rows, strict=True):
                yield (view.name, name), a, b


def _values(view: View, row: bytes | None) -> Sequence[float]:
    n = len(view.features)
    return [math.nan] * n if row is None else struct.unpack(f"{n}d", row)


def failed(found: Sequence[Result]) -> bool:
    """Return whether a value differs or nothing was compared."""
    return any(r.differing for r in found) or not any(r.compared for r in found)


def show(found: Sequence[Result], title: str, refused: Mapping[str, int], *, as_json: bool) -> None:
    """Print a table, differing features first, and a summary; or one JSON object.

    ``refused`` has, by reason, the lines of the recording that were refused and so not checked.
    """
    console = Console()
    passed = not failed(found)
    if as_json:
        features = [{name: getattr(r, name) for name in Result.__slots__} for r in found]
        answer = {"check": title, "passed": passed, "refused": dict(sorted(refused.items())), "features": features}
        console.file.write(json.dumps(answer) + "\n")
        return
    table = Table(title=title, title_justify="left")
    for heading in ("view", "feature"):
        table.add_column(heading, no_wrap=True)
    for heading in ("compared", "not null", "differing"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("")
    for r in sorted(found, key=lambda r: not r.differing):
        counts = (f"{n:,}" for n in (r.compared, r.values, r.differing))
        table.add_row(r.view, r.feature, *counts, r.example or r.note, style="red" if r.differing else None)
    console.print(table)
    if refused:
        console.print("lines refused: " + ", ".join(f"{n:,} {reason}" for reason, n in sorted(refused.items())))
    n_compared = sum(r.compared for r in found)
    if not n_compared:
        console.print("FAILED: there was nothing to compare")
        return
    silent = sum(not r.values for r in found)
    console.print(
        f"{'passed' if passed else 'FAILED'}: {n_compared:,} values of {len(found)} features compared, "
        f"{sum(r.differing for r in found):,} differ; {silent} features had no value to compare in this recording"
    )


def as_objects(found: Sequence[Result]) -> list[dict[str, object]]:
    """Return what was found as JSON objects."""
    shown = ("view", "feature", "compared", "values", "differing", "example")
    return [{name: getattr(r, name) for name in shown} for r in found]


def show_by_view(found: Sequence[Result], title: str, console: Console) -> None:
    """Print a table of views, whose features were compared in the same rows, and each feature that differs."""
    headings = ("view", "rows", "values", "not null", "differing")
    table = Table(*headings, title=title, title_justify="left")
    for view in dict.fromkeys(r.view for r in found):
        of = [r for r in found if r.view == view]
        numbers = (of[0].compared, *(sum(getattr(r, n) for r in of) for n in ("compared", "values", "differing")))
        table.add_row(view, *(f"{n:,}" for n in numbers), style="red" if numbers[-1] else None)
    console.print(table)
    for r in found:
        if r.differing:
            console.print(f"{r.view}.{r.feature}: {r.differing:,} differ; {r.example}", markup=False)
