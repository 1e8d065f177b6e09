"""How a view is read: its entity rows looked up by index, or all rows of a stretch of time scanned once.

The planner's estimates decide, on a sample of the entity rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import psycopg
from psycopg import sql

from feature_repo.stores.offline.join import scan
from feature_repo.stores.offline.join.lookup import Lookup, look_up
from feature_repo.stores.offline.join.spine import Asked, upload_asked, upload_keys

FEW: Final = 100  # entity rows that are looked up without asking what a scan would cost
SAMPLE: Final = 10_000  # entity rows by which the cost of looking up all is estimated
PART: Final = 25_000  # entity rows of one look-up
STRETCH_US: Final = (
    5 * 86_400_000_000
)  # of time of one statement: each look-up asks every chunk of it, and 90 take ten times as long as 3
SLICE_CELLS: Final = 4_000_000  # feature values that one scan should hold: the bound of its memory

# Cost of packing and sending a row of a scan, and of sending it by itself, in the planner's units. Measured: a row
# scanned takes 1.25 µs in all and costs 0.23 without this; a look-up takes 12 µs and costs 8.
PACKED_COST: Final = 0.6
PLAIN_COST: Final = 1.2
_COLUMNSTORE: Final = {"ColumnarScan", "DecompressChunk"}  # as newer and older releases of TimescaleDB name it in plans


@dataclass(frozen=True, slots=True)
class LookUp:
    """Look up `asked`. Where `uploaded`, the connection that planned it holds them in ``ASKED`` already."""

    asked: Asked
    uploaded: bool = False

    def stretches(self) -> Iterator[tuple[int, int]]:
        """Yield the first and last moment of each statement."""
        start, moment = 0, self.asked.moment
        while start < len(moment):
            stop = int(np.searchsorted(moment, moment[start] + STRETCH_US, side="right"))
            yield int(moment[start]), int(moment[stop - 1])
            start = stop


@dataclass(frozen=True, slots=True)
class Scan:
    """Scan the time of `asked`, whose moments lie within `span` microseconds, if it has at most `limit` rows."""

    asked: Asked
    span: int
    limit: int

    def halves(self) -> tuple[Scan, Scan]:
        """Return the two halves of the time."""
        middle = int(np.searchsorted(self.asked.moment, (self.asked.begin + self.asked.end) // 2, side="right"))
        first, second = (self.asked.part(half) for half in (slice(0, middle), slice(middle, None)))
        span = max(1, self.span // 2)
        return Scan(first, span, self.limit), Scan(second, span, self.limit)


def is_long(asked: Asked) -> bool:
    """Return whether look-ups of these entity rows need several statements."""
    return bool(len(asked.row)) and asked.end - asked.begin > STRETCH_US


def choose(
    connection: psycopg.Connection[Any], lookup: Lookup, types: Sequence[int], asked: Asked
) -> Sequence[LookUp | Scan]:
    """Return the steps that read `asked` of a view whose features have these type ids.

    The steps may run in any order. `connection` gets the temporary tables by which the planner estimates.
    """
    if not len(asked.row):
        return []
    step = -(-len(asked.row) // SAMPLE)
    upload_asked(connection, asked.part(slice(None, None, step)))
    if len(asked.row) > FEW:
        upload_keys(connection, asked)
        scanning = scan.statement(lookup, types, asked.begin - lookup.ttl, asked.end)
        scanned, rows, in_columnstore = _cost(connection, scanning)
        # The planner believes that the other history is looked up for every row, and not only for those that might not count.
        looked_up, *_ = _cost(connection, look_up(replace(lookup, history=None), asked.begin, asked.end))
        per_row = PACKED_COST if scan.can_pack(types) else PLAIN_COST
        if looked_up * step > scanned + per_row * rows and in_columnstore:
            rows = _count(connection, scanning)
        if looked_up * step > scanned + per_row * rows:
            return _slices(asked, rows, len(types))
    if step == 1:
        return [LookUp(asked, uploaded=True)]
    return [LookUp(asked.part(slice(i, i + PART))) for i in range(0, len(asked.row), PART)]


def _slices(asked: Asked, rows: float, features: int) -> list[Scan]:
    """Cut the time into scans of about `SLICE_CELLS` values, where `rows` are expected in all of it."""
    span = max(1, int((asked.end - asked.begin) * min(1.0, SLICE_CELLS / (1 + rows * features))))
    slices, start = [], 0
    while start < len(asked.row):
        stop = int(np.searchsorted(asked.moment, asked.moment[start] + span, side="right"))
        slices.append(Scan(asked.part(slice(start, stop)), span, 4 * SLICE_CELLS // features))
        start = stop
    return slices


def _cost(connection: psycopg.Connection[Any], query: sql.Composable) -> tuple[float, float, bool]:
    """Return the planner's cost of a statement, its estimate of the rows, and whether some lie in the columnstore."""
    row = connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(query)).fetchone()
    explained = row[0] if row else "[]"
    top = (json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"]
    return float(top["Total Cost"]), float(top["Plan Rows"]), _has_columnstore(top)


def _has_columnstore(node: Mapping[str, Any]) -> bool:
    return node.get("Custom Plan Provider") in _COLUMNSTORE or any(map(_has_columnstore, node.get("Plans", ())))


def _count(connection: psycopg.Connection[Any], query: sql.Composable) -> float:
    """Return how many rows a statement gives.

    The planner has no statistics of the keys of a packed chunk. It takes 200 different ones for granted, so it may expect 25 times too few
    rows. To count them there takes a fraction of the time of a scan.
    """
    row = connection.execute(sql.SQL("SELECT count(*) FROM ({}) AS given").format(query)).fetchone()
    return float(row[0]) if row else 0.0
