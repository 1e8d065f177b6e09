"""The SQL over raw tables: which symbols have rows on which days, and the rows of a symbol and a day as messages.

The database writes each row as the JSON of our messages, so the decoder and the checks of the streams apply to it.
An index on (symbol, time) makes the queries fast.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import psycopg
from psycopg import sql

from ingest.backfill.raw import OF_KIND, RawTable, Source
from ingest.messages.check import is_symbol
from ingest.messages.kinds import MAX_TIME_MS
from ingest.messages.refusal import Reason
from transforms.kernel import DAY_US

_DAY_MS = DAY_US // 1000

Days = dict[str, dict[int, int]]
"""For each symbol the days since 1970 on which it has rows, and their number."""


def days(connection: psycopg.Connection[Any], source: Source) -> tuple[Days, Counter[str]]:
    """Return the symbols and days of all tables, and by reason the number of rows that have no symbol or day."""
    found: Days = {}
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
                of_symbol = found.setdefault(symbol, {})
                of_symbol[day] = of_symbol.get(day, 0) + n
    return found, refused


def rows_of_day(source: Source, symbol: str, day: int) -> sql.Composed:
    """Return the query of a symbol's rows of a day in the order of arrival.

    Its columns are the receive time (µs), the rows' own order, the message's kind, and the message as JSON.
    """
    every = sql.SQL(" UNION ALL ").join(_select(table, source, symbol, day) for table in source.tables)
    # sort by the message last: rows that nothing else tells apart then come in the same order every time
    return sql.SQL("SELECT at, arrival, kind, message FROM ({}) AS rows ORDER BY at, arrival, event, message").format(
        every
    )


def _select(table: RawTable, source: Source, symbol: str, day: int) -> sql.Composed:
    fields = {"timestamp": _ms(table, "time", "floor"), "symbol": table.column("symbol")}
    event = at = _us(table, "time")
    if "received" in table.columns:
        fields["received"] = _ms(table, "received", "ceil")
        at = sql.SQL("coalesce({}, {})").format(_us(table, "received"), event)
    fields |= {f: table.column(f) for f in OF_KIND[table.kind] if f in table.columns}
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
    highest = sql.SQL("'2255-06-05'") if stamp else sql.Literal(MAX_TIME_MS)
    return sql.SQL("{} BETWEEN {} AND {}").format(table.column(field), lowest, highest)


def _us(table: RawTable, field: str) -> sql.Composable:
    """Return a time in whole microseconds, NULL if it is none."""
    text = "floor(extract(epoch FROM {}) * 1000000)::bigint" if table.is_stamp(field) else "{}::bigint * 1000"
    us = sql.SQL(text).format(table.column(field))
    return sql.SQL("CASE WHEN {} THEN {} END").format(_possible(table, field), us)


def _ms(table: RawTable, field: str, rounded: str) -> sql.Composable:
    """Return a time in milliseconds as JSON. An impossible one stays as it is, and the decoder refuses it."""
    column = table.column(field)
    if not table.is_stamp(field):
        return column
    ms = sql.SQL("to_json({}(extract(epoch FROM {}) * 1000)::bigint)").format(sql.SQL(rounded), column)
    return sql.SQL("CASE WHEN {} THEN {} ELSE to_json({}::text) END").format(_possible(table, field), ms, column)
