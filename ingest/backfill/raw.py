"""Raw tables of a database: which columns hold what, which symbols and days there are, and the query that reads them as messages.

A table (or a view) of trades has price and size, one of books has bids and asks::

    trades  time, symbol, price, size, side?, trade_id?, next_funding? (whole milliseconds), received?, arrival?
    books   time, symbol, bids, asks, sequence?, received?, arrival?

``time`` and ``received`` are timestamps (without a zone: UTC) or whole numbers of milliseconds. ``bids`` and ``asks`` are arrays of
(price, size) pairs (``numeric[]``, ``double precision[]``, of two dimensions) or ``json`` or ``jsonb`` of that form, best first; both NULL
say that the feed lost its place. ``arrival`` orders rows that were received at one time. The database writes each row as the JSON of our
messages, so the decoder and the checks that take it are those of the streams. An index on (symbol, time) is what makes it quick.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from feature_repo.stores.errors import UserError
from feature_repo.stores.offline.tables.schema import identifier_parts
from ingest.messages.check import is_symbol
from ingest.messages.kinds import MAX_TIME_MS
from ingest.messages.refusal import Reason
from ingest.recordings.columns import BOOK, RAW_TABLE, TRADE, first_present
from transforms.kernel import DAY_US
from transforms.times import datetime_of_ms

DAY_MS = DAY_US // 1000
_SHARED = ("time", "symbol", "received", "arrival")
_OF_KIND = {"book": BOOK, "trade": TRADE}
_REQUIRED = {"book": ("time", "symbol", "bids", "asks"), "trade": ("time", "symbol", "price", "size")}
FIELDS = tuple(RAW_TABLE)
_WHOLE = ("bigint", "integer")
_STAMPS = ("timestamp with time zone", "timestamp without time zone")


class RawTableError(UserError, ValueError):
    """A table is not there, or lacks a column; the message says which, and what the table has."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A raw table.

    Attributes
    ----------
    name:
        Parts of its name.
    kind:
        ``book`` or ``trade``.
    columns:
        The column of each field that it has.
    zoned, stamps:
        Whether its times know their zone, and whether they are timestamps at all; else they are milliseconds.
    received_stamps:
        The same of its receive times.
    """

    name: tuple[str, ...]
    kind: str
    columns: Mapping[str, str]
    zoned: bool
    stamps: bool
    received_stamps: bool

    def column(self, field: str) -> sql.Composable:
        """The quoted column of a field, NULL where the table has none."""
        name = self.columns.get(field)
        return sql.SQL("NULL") if name is None else sql.Identifier(name)

    def bound(self, at_ms: int) -> int | datetime:
        """A moment as the column of times compares with it."""
        if not self.stamps:
            return at_ms
        at = datetime_of_ms(at_ms)
        return at if self.zoned else at.replace(tzinfo=None)


@dataclass(frozen=True, slots=True)
class Source:
    """Raw tables that are read together, from ``since_ms`` on and before ``until_ms``, where these are given."""

    tables: tuple[Raw, ...]
    since_ms: int | None = None
    until_ms: int | None = None


Days = dict[str, dict[int, int]]
"""For each symbol the days since 1970 on which it has rows, and their number."""


def describe(connection: psycopg.Connection[Any], name: str, given: Mapping[str, str]) -> Raw:
    """What the columns of a table hold.

    Parameters
    ----------
    name:
        As in SQL: ``trades``, ``market.trades`` or ``"Odd name"``.
    given:
        Columns of fields that have none of the common names; an empty one says that there is none.

    Raises
    ------
    RawTableError
        It is not there, lacks a column that is needed, or one has a type that cannot be read.
    """
    try:
        parts = identifier_parts(name)
    except ValueError as error:
        raise RawTableError(str(error)) from None
    shown = ".".join(parts)
    types = _types(connection, parts)
    if not types:
        raise RawTableError(f"there is no table {shown}")
    columns = {}
    for field, common in RAW_TABLE.items():
        if field in given:
            if given[field] and given[field] not in types:
                raise RawTableError(f"{shown} has no column {given[field]!r}; it has {', '.join(map(repr, types))}")
            found: str | None = given[field] or None
        else:
            found = first_present(common, types)
        if found is not None:
            columns[field] = found
    kind = "book" if "bids" in columns or "asks" in columns else "trade"
    for field in _REQUIRED[kind]:
        if field not in columns:
            has = ", ".join(map(repr, types))
            raise RawTableError(
                f"{shown} has no column for {field}: say which with --column {field}=NAME; it has {has}"
            )
    columns = {field: column for field, column in columns.items() if field in (*_SHARED, *_OF_KIND[kind])}
    times = (
        ("time", (*_STAMPS, *_WHOLE)),
        ("received", (*_STAMPS, *_WHOLE)),
        ("arrival", _WHOLE),
        ("next_funding", _WHOLE),
    )
    for field, allowed in times:
        if field in columns and types[columns[field]] not in allowed:
            raise RawTableError(
                f"{shown}.{columns[field]} is {types[columns[field]]}: {field} must be {', '.join(allowed)}"
            )
    for field in ("bids", "asks"):
        if field in columns and not (
            types[columns[field]] in ("json", "jsonb") or types[columns[field]].endswith("[]")
        ):
            raise RawTableError(
                f"{shown}.{columns[field]} is {types[columns[field]]}: {field} must be an array, json or jsonb"
            )
    time = types[columns["time"]]
    received = types[columns["received"]] in _STAMPS if "received" in columns else False
    return Raw(parts, kind, columns, time == _STAMPS[0], time in _STAMPS, received)


def _types(connection: psycopg.Connection[Any], parts: Sequence[str]) -> dict[str, str]:
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (sql.Identifier(*parts).as_string(connection),),
    ).fetchall()
    return dict(rows)


def days(connection: psycopg.Connection[Any], source: Source) -> tuple[Days, Counter[str]]:
    """The symbols and days of all tables, and how many rows belong nowhere, by reason."""
    found: Days = {}
    nowhere: Counter[str] = Counter()
    for table in source.tables:
        us = _us(table, "time", table.stamps)
        listing = sql.SQL(
            "SELECT {symbol}::text, {us} / {day}, {time} IS NULL, count(*) FROM {table} WHERE {inside} OR {time} IS NULL GROUP BY 1, 2, 3"
        ).format(
            symbol=table.column("symbol"),
            us=us,
            day=sql.Literal(DAY_US),
            time=table.column("time"),
            table=sql.Identifier(*table.name),
            inside=_inside(table, source),
        )
        for symbol, day, timeless, n in connection.execute(listing):
            if symbol is None or timeless:
                nowhere[Reason.MISSING_FIELD] += n
            elif day is None:
                nowhere[Reason.OUT_OF_RANGE] += n
            elif not is_symbol(symbol):
                nowhere[Reason.BAD_SYMBOL] += n
            else:
                of_symbol = found.setdefault(symbol, {})
                of_symbol[day] = of_symbol.get(day, 0) + n
    return found, nowhere


def query(source: Source, symbol: str, day: int) -> sql.Composed:
    """The rows of a symbol and a day by arrival: when they were received (µs), their own order, their kind, the message as JSON."""
    every = sql.SQL(" UNION ALL ").join(_select(table, source, symbol, day) for table in source.tables)
    # the message last: where nothing else tells two rows apart, their order is at least the same every time
    return sql.SQL("SELECT at, arrival, kind, message FROM ({}) AS rows ORDER BY at, arrival, event, message").format(
        every
    )


def _select(table: Raw, source: Source, symbol: str, day: int) -> sql.Composed:
    fields = {"timestamp": _ms(table, "time", table.stamps, "floor"), "symbol": table.column("symbol")}
    event = at = _us(table, "time", table.stamps)
    if "received" in table.columns:
        fields["received"] = _ms(table, "received", table.received_stamps, "ceil")
        at = sql.SQL("coalesce({}, {})").format(_us(table, "received", table.received_stamps), event)
    fields |= {f: table.column(f) for f in _OF_KIND[table.kind] if f in table.columns}
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
        begin=sql.Literal(table.bound(day * DAY_MS)),
        end=sql.Literal(table.bound((day + 1) * DAY_MS)),
        inside=_inside(table, source),
    )


def _inside(table: Raw, source: Source) -> sql.Composable:
    """Whether a row is in the time that is asked for."""
    time = table.column("time")
    bounds = [
        sql.SQL(text).format(time, sql.Literal(table.bound(ms)))
        for text, ms in (("{} >= {}", source.since_ms), ("{} < {}", source.until_ms))
        if ms is not None
    ]
    return sql.SQL(" AND ").join(bounds) if bounds else sql.SQL("true")


def _possible(table: Raw, field: str, stamps: bool) -> sql.Composed:
    """Whether a time is one of the years 1970 to 2255: arithmetic on others may overflow."""
    highest = sql.SQL("'2255-06-05'") if stamps else sql.Literal(MAX_TIME_MS)
    lowest = sql.SQL("'1970-01-01'") if stamps else sql.Literal(0)
    return sql.SQL("{} BETWEEN {} AND {}").format(table.column(field), lowest, highest)


def _us(table: Raw, field: str, stamps: bool) -> sql.Composable:
    """A time in whole microseconds, NULL where it is none."""
    text = "floor(extract(epoch FROM {}) * 1000000)::bigint" if stamps else "{}::bigint * 1000"
    us = sql.SQL(text).format(table.column(field))
    return sql.SQL("CASE WHEN {} THEN {} END").format(_possible(table, field, stamps), us)


def _ms(table: Raw, field: str, stamps: bool, rounded: str) -> sql.Composable:
    """A time in milliseconds as JSON; an impossible one as it is, which the decoder refuses."""
    column = table.column(field)
    if not stamps:
        return column
    ms = sql.SQL("to_json({}(extract(epoch FROM {}) * 1000)::bigint)").format(sql.SQL(rounded), column)
    return sql.SQL("CASE WHEN {} THEN {} ELSE to_json({}::text) END").format(
        _possible(table, field, stamps), ms, column
    )
