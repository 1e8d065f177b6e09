"""The rows of raw tables as messages in the order of arrival: one symbol at a time, day by day, through server-side cursors.

The database writes each row as the JSON of our messages, so the decoder and the checks of the streams apply to it.
An index on (symbol, time) makes the queries fast.

A slice holds the events of one day, sorted by receive time. An event from before midnight may be received after it, so the
next slice is opened before the current one is exhausted, and the two are merged::

    day 1  ------------------------+--*-->      * received after midnight, among the events of day 2
    day 2                       +-----------
                                opened here: no valid row of day 2 was received before midnight minus TFS_MAX_FUTURE_MS
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from heapq import heappop, heappush
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from ingest.imports.tables.raw import OF_KIND, RawTable, Source
from ingest.messages.check import is_symbol
from ingest.messages.kinds import MAX_TIME_MS, MAX_TIME_US
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.lines import Line, Output, Rejected
from ingest.recordings.own import parse_kind
from transforms.kernel import DAY_US

FETCH = 2000
_DAY_MS = DAY_US // 1000
_FAR = 1 << 62
"""Sorts after every time."""

_AGGRESSOR = """CASE lower({m}::text) WHEN 'true' THEN 'sell' WHEN '1' THEN 'sell'
    WHEN 'false' THEN 'buy' WHEN '0' THEN 'buy' ELSE {m}::text END"""
"""The aggressor's side by whether the buyer was the maker; any other text stays, and is refused."""

Days = dict[str, dict[int, int]]
"""For each symbol the days since 1970 on which it has rows, and their number."""
Row = tuple[int | None, int, str, str]
"""Receive time (µs), the rows' own order, kind, message."""


def days(connection: psycopg.Connection[Any], source: Source) -> tuple[Days, Counter[str]]:
    """Return the symbols and days of all tables, and by reason the number of rows that have no symbol or day."""
    found: Days = defaultdict(Counter)
    refused: Counter[str] = Counter()
    for table in source.tables:
        listing = sql.SQL(
            "SELECT {symbol}::text, {us} / {day}, {time} IS NULL, count(*) FROM {table} "
            "WHERE {inside} OR {time} IS NULL GROUP BY 1, 2, 3"
        ).format(
            symbol=table.column("symbol"),
            us=_us(table, "time"),
            day=sql.Literal(DAY_US),
            time=table.column("time"),
            table=sql.Identifier(*table.name),
            inside=_inside(table, source),
        )
        for symbol, day, timeless, n in connection.execute(listing):
            if symbol is None or timeless:
                refused[Reason.MISSING_FIELD] += n
            elif day is None:
                refused[Reason.OUT_OF_RANGE] += n
            elif not is_symbol(symbol):
                refused[Reason.BAD_SYMBOL] += n
            else:
                found[symbol][day] += n
    return found, refused


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


def line_of(source: Source, message: Any) -> Line:
    """Return a line for a message that is refused after it was read."""
    return Line(".".join(source.tables[0].name), 0, 0, msgspec.json.encode(message), False)


def _rows(connection: psycopg.Connection[Any], source: Source, symbol: str, day: int) -> Iterator[Row]:
    with connection.cursor(f"raw_{day}", binary=True) as cursor:
        cursor.execute(_rows_of_day(source, symbol, day))
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


def _rows_of_day(source: Source, symbol: str, day: int) -> sql.Composed:
    """Return the query of a symbol's rows of a day in the order of arrival; its columns are those of a `Row`."""
    every = sql.SQL(" UNION ALL ").join(_select(table, source, symbol, day) for table in source.tables)
    # sort by the message last: rows that nothing else tells apart then come in the same order every time
    return sql.SQL("SELECT at, arrival, kind, message FROM ({}) AS rows ORDER BY at, arrival, event, message").format(
        every
    )


def _select(table: RawTable, source: Source, symbol: str, day: int) -> sql.Composed:
    finer = table.is_stamp("time") or "time" in table.in_us
    time = _event_us(table) if finer else table.column("time")
    fields = {"timestamp_us" if finer else "timestamp": time, "symbol": table.column("symbol")}
    event = at = _us(table, "time")
    if "received" in table.columns:
        fields["received"] = _received_ms(table)
        at = sql.SQL("coalesce({}, {})").format(_us(table, "received"), event)
    fields |= {f: table.column(f) for f in OF_KIND[table.kind] if f in table.columns}
    maker_bought = fields.pop("maker_bought", None)
    if maker_bought is not None:
        fields.setdefault("side", sql.SQL(_AGGRESSOR).format(m=maker_bought))
    kind: sql.Composable = sql.Literal(table.kind)
    if table.kind == "book":
        lost = sql.SQL("{} IS NULL AND {} IS NULL").format(table.column("bids"), table.column("asks"))
        kind = sql.SQL("CASE WHEN {} THEN 'gap' ELSE 'book' END").format(lost)
    return sql.SQL(
        "SELECT {at} AS at, coalesce({arrival}, 0)::bigint AS arrival, {event} AS event, {kind} AS kind, "
        "json_build_object({pairs})::text AS message FROM {table} "
        "WHERE {symbol} = {named} AND {time} >= {begin} AND {time} < {end} AND {inside}"
    ).format(
        at=at,
        arrival=table.column("arrival"),
        event=event,
        kind=kind,
        pairs=sql.SQL(", ").join(sql.SQL("{}, {}").format(sql.Literal(n), c) for n, c in fields.items()),
        table=sql.Identifier(*table.name),
        symbol=table.column("symbol"),
        named=sql.Literal(symbol),
        time=table.column("time"),
        begin=sql.Literal(table.bound(day * _DAY_MS)),
        end=sql.Literal(table.bound((day + 1) * _DAY_MS)),
        inside=_inside(table, source),
    )


def _inside(table: RawTable, source: Source) -> sql.Composable:
    """Return the condition that a row is in the time that the source asks for."""
    time = table.column("time")
    bounds = [
        sql.SQL(text).format(time, sql.Literal(table.bound(ms)))
        for text, ms in (("{} >= {}", source.since_ms), ("{} < {}", source.until_ms))
        if ms is not None
    ]
    return sql.SQL(" AND ").join(bounds) if bounds else sql.SQL("true")


def _possible(table: RawTable, field: str) -> sql.Composed:
    """Return the condition that a time is in the years 1970 to 2255: arithmetic on others may overflow."""
    stamp = table.is_stamp(field)
    lowest = sql.SQL("'1970-01-01'") if stamp else sql.Literal(0)
    highest = sql.SQL("'2255-06-05'") if stamp else sql.Literal(MAX_TIME_US if field in table.in_us else MAX_TIME_MS)
    return sql.SQL("{} BETWEEN {} AND {}").format(table.column(field), lowest, highest)


def _us(table: RawTable, field: str) -> sql.Composable:
    """Return a time in whole microseconds, NULL if it is none."""
    whole = "{}::bigint" if field in table.in_us else "{}::bigint * 1000"
    text = "floor(extract(epoch FROM {}) * 1000000)::bigint" if table.is_stamp(field) else whole
    us = sql.SQL(text).format(table.column(field))
    return sql.SQL("CASE WHEN {} THEN {} END").format(_possible(table, field), us)


def _event_us(table: RawTable) -> sql.Composable:
    """Return the event time in microseconds as JSON. An impossible one stays as it is, and the decoder refuses it."""
    return _as_json(table, "time", _us(table, "time"))


def _received_ms(table: RawTable) -> sql.Composable:
    """Return the receive time in milliseconds as JSON, rounded up. An impossible one stays as it is, and the decoder refuses it."""
    if not (table.is_stamp("received") or "received" in table.in_us):
        return table.column("received")
    return _as_json(table, "received", sql.SQL("ceil({} / 1000.0)::bigint").format(_us(table, "received")))


def _as_json(table: RawTable, field: str, number: sql.Composable) -> sql.Composable:
    text = sql.SQL("CASE WHEN {} THEN to_json({}) ELSE to_json({}::text) END")
    return text.format(_possible(table, field), number, table.column(field))
