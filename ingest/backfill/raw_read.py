"""The rows of raw tables as messages in the order of their arrival, a symbol at a time, day by day, by cursors of the server.

A slice holds the events of one day; its rows are sorted by when they were received. What happened before midnight may be received
after it, so a slice is opened before the one before it is through, and both are merged::

    day 1  ------------------------+--*-->      * received after midnight, among the events of day 2
    day 2                       +-----------
                                opened: nothing sound of day 2 was received before midnight less the clocks' difference allowed
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any

import psycopg

from ingest.backfill.raw import Source, query
from ingest.messages.refusal import Refused
from ingest.recordings.lines import Line, Output, Rejected
from ingest.recordings.own import parse_kind
from transforms.kernel import DAY_US

FETCH = 2000
_FAR = 1 << 62

Row = tuple[int | None, int, str, str]


def messages(
    connection: psycopg.Connection[Any], source: Source, symbol: str, days: Sequence[int], max_future_ms: int
) -> Iterator[Output]:
    """The messages of a symbol on ``days`` (ascending), and what is refused; all from one snapshot of the database."""
    name = ".".join(source.tables[0].name)

    def opener(day: int) -> Callable[[], Iterator[Row]]:
        return lambda: _rows(connection, source, symbol, day)

    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        slices = [(day * DAY_US, opener(day)) for day in days]
        for number, (_, _, kind, text) in enumerate(merged(slices, max_future_ms * 1000), 1):
            data = text.encode()
            try:
                yield parse_kind(kind, data, max_future_ms)
            except Refused as refused:
                yield Rejected(Line(name, number, 0, data, False), refused.reason, refused.detail)


def _rows(connection: psycopg.Connection[Any], source: Source, symbol: str, day: int) -> Iterator[Row]:
    with connection.cursor(f"raw_{day}", binary=True) as cursor:
        cursor.execute(query(source, symbol, day))
        while rows := cursor.fetchmany(FETCH):
            yield from rows


def merged(slices: Sequence[tuple[int, Callable[[], Iterator[Row]]]], slack_us: int) -> Iterator[Row]:
    """The rows of all slices by arrival; each is (its begin in microseconds, what opens it) and is opened as late as may be."""
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
