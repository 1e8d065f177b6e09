"""The rows of raw tables as messages in the order of arrival: one symbol at a time, day by day, through server-side cursors.

A slice holds the events of one day, sorted by receive time. An event from before midnight may be received after it, so the
next slice is opened before the current one is exhausted, and the two are merged::

    day 1  ------------------------+--*-->      * received after midnight, among the events of day 2
    day 2                       +-----------
                                opened here: no valid row of day 2 was received before midnight minus TFS_MAX_FUTURE_MS
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from heapq import heappop, heappush
from typing import Any

import psycopg

from ingest.backfill.raw import Source
from ingest.backfill.raw_query import rows_of_day
from ingest.messages.refusal import Refused
from ingest.recordings.lines import Line, Output, Rejected
from ingest.recordings.own import parse_kind
from transforms.kernel import DAY_US

FETCH = 2000
_FAR = 1 << 62
"""Sorts after every time."""

Row = tuple[int | None, int, str, str]
"""Receive time (µs), the rows' own order, kind, message."""


def messages(
    connection: psycopg.Connection[Any], source: Source, symbol: str, days: Sequence[int], max_future_ms: int
) -> Iterator[Output]:
    """Yield the messages and refusals of a symbol on ``days`` (ascending), all from one snapshot of the database."""
    name = ".".join(source.tables[0].name)
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        slices = [(day * DAY_US, partial(_rows, connection, source, symbol, day)) for day in days]
        for number, (_, _, kind, text) in enumerate(merged(slices, max_future_ms * 1000), 1):
            data = text.encode()
            try:
                yield parse_kind(kind, data, max_future_ms)
            except Refused as refused:
                yield Rejected(Line(name, number, 0, data, False), refused.reason, refused.detail)


def _rows(connection: psycopg.Connection[Any], source: Source, symbol: str, day: int) -> Iterator[Row]:
    with connection.cursor(f"raw_{day}", binary=True) as cursor:
        cursor.execute(rows_of_day(source, symbol, day))
        while rows := cursor.fetchmany(FETCH):
            yield from rows


def merged(slices: Sequence[tuple[int, Callable[[], Iterator[Row]]]], slack_us: int) -> Iterator[Row]:
    """Yield the rows of all slices by arrival.

    A slice is (its begin in µs, the function that opens it). It is opened as late as possible: when the next row is within
    ``slack_us`` of its begin.
    """
    heads: list[tuple[int, int, int, Row, Iterator[Row]]] = []

    def push(number: int, rows: Iterator[Row]) -> None:
        row = next(rows, None)
        if row is not None:
            heappush(heads, (_FAR if row[0] is None else row[0], row[1], number, row, rows))

    opened = 0
    while heads or opened < len(slices):
        while opened < len(slices) and (not heads or heads[0][0] >= slices[opened][0] - slack_us):
            push(opened, slices[opened][1]())
            opened += 1
        if heads:
            _, _, number, row, rows = heappop(heads)
            yield row
            push(number, rows)
