"""Raw tables of trades and books in a database: which column holds what, and whether it can be read.

A table (or a view) of trades has price and size, one of books has bids and asks; the help of the command lists all columns. ``time``
and ``received`` are timestamps (UTC if they have no zone), or whole milliseconds or microseconds, which their size tells. ``bids`` and
``asks`` are arrays of (price, size) pairs (``numeric[]``, ``double precision[]``, two dimensions), or ``json`` or ``jsonb`` of that form,
best level first. Both NULL means that the feed lost its place. ``arrival`` orders rows that were received at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from feature_repo.stores.errors import UserError
from feature_repo.stores.offline.tables.schema import identifier_parts
from ingest.messages.kinds import MAX_TIME_MS
from ingest.recordings.columns import BOOK, RAW_TABLE, TRADE, first_present
from transforms.times import datetime_of_ms

OF_KIND = {"book": (*BOOK, "depth"), "trade": tuple(TRADE)}
"""The fields that only a table of this kind has."""
_SHARED = ("time", "symbol", "received", "arrival")
_REQUIRED = {"book": ("time", "symbol", "bids", "asks"), "trade": ("time", "symbol", "price", "size")}
_WHOLE = ("bigint", "integer")
_ZONED = "timestamp with time zone"
_STAMPS = (_ZONED, "timestamp without time zone")
_TYPES = {"time": (*_STAMPS, *_WHOLE), "received": (*_STAMPS, *_WHOLE), "arrival": _WHOLE, "next_funding": _WHOLE}
"""The types that a column of these fields may have."""


_SAMPLE = 101  # rows that tell the unit of a column of whole numbers


class RawTableError(UserError, ValueError):
    """A table is missing or lacks a column. The message says which, and what the table has."""


@dataclass(frozen=True, slots=True)
class RawTable:
    """A raw table. Its fields are hashed into the digest of a run: a new field makes every run on raw tables another run.

    Attributes
    ----------
    name : tuple of str
        The parts of its name.
    kind : str
        ``book`` or ``trade``.
    columns : mapping
        The column of each field that the table has.
    zoned : bool
        Whether ``time`` is a timestamp with a time zone.
    stamps, received_stamps : bool
        Whether ``time`` and ``received`` are timestamps; else they are whole numbers.
    in_us : tuple of str
        Which of ``time`` and ``received`` are whole microseconds; other whole numbers are milliseconds.
    """

    name: tuple[str, ...]
    kind: str
    columns: Mapping[str, str]
    zoned: bool
    stamps: bool
    received_stamps: bool
    in_us: tuple[str, ...] = ()

    def column(self, field: str) -> sql.Composable:
        """Return the quoted column of a field, NULL if the table has none."""
        name = self.columns.get(field)
        return sql.SQL("NULL") if name is None else sql.Identifier(name)

    def is_stamp(self, field: str) -> bool:
        """Return whether the column of ``time`` or ``received`` is a timestamp."""
        return self.stamps if field == "time" else self.received_stamps

    def bound(self, at_ms: int) -> int | datetime:
        """Return a time as a value that compares with the column ``time``."""
        if not self.stamps:
            return at_ms * 1000 if "time" in self.in_us else at_ms
        at = datetime_of_ms(at_ms)
        return at if self.zoned else at.replace(tzinfo=None)


@dataclass(frozen=True, slots=True)
class Source:
    """Raw tables that are read together, from ``since_ms`` on and before ``until_ms`` where these are given."""

    tables: tuple[RawTable, ...]
    since_ms: int | None = None
    until_ms: int | None = None


def open_source(
    url: str,
    names: Sequence[str],
    given: Sequence[tuple[str, str, str]],
    since_ms: int | None = None,
    until_ms: int | None = None,
) -> Source:
    """Describe the tables that a user names. ``given`` has what `column_of_table` returns."""
    if unknown := {table for table, _, _ in given if table} - set(names):
        raise RawTableError(f"--column names {', '.join(sorted(unknown))}, which no --table does")
    with psycopg.connect(url, autocommit=True) as connection:
        tables = []
        for name in dict.fromkeys(names):
            columns = {field: column for table, field, column in given if table in ("", name)}
            tables.append(describe(connection, name, columns))
    return Source(tuple(tables), since_ms, until_ms)


def describe(connection: psycopg.Connection[Any], name: str, given: Mapping[str, str]) -> RawTable:
    """Find out what the columns of a table hold. Raise ``RawTableError`` if it is missing or cannot be read.

    ``name`` is as in SQL: ``trades``, ``market.trades`` or ``"Odd name"``. ``given`` has the columns of fields that have none of the
    common names; an empty one says that the table has no such column.
    """
    try:
        parts = identifier_parts(name)
    except ValueError as error:
        raise RawTableError(str(error)) from None
    shown = ".".join(parts)
    types = _column_types(connection, parts)
    if not types:
        raise RawTableError(f"there is no table {shown}")
    columns = _columns(shown, types, given)
    kind = "book" if "bids" in columns or "asks" in columns else "trade"
    for field in _REQUIRED[kind]:
        if field not in columns:
            has = ", ".join(map(repr, types))
            raise RawTableError(
                f"{shown} has no column for {field}: say which with --column {field}=NAME; it has {has}"
            )
    columns = {field: column for field, column in columns.items() if field in (*_SHARED, *OF_KIND[kind])}
    _check_types(shown, {field: (column, types[column]) for field, column in columns.items()})
    time = types[columns["time"]]
    received = types.get(columns.get("received", ""))
    whole = [field for field in ("time", "received") if types.get(columns.get(field, "")) in _WHOLE]
    in_us = tuple(field for field in whole if _is_in_us(connection, parts, columns[field]))
    return RawTable(parts, kind, columns, time == _ZONED, time in _STAMPS, received in _STAMPS, in_us)


def _is_in_us(connection: psycopg.Connection[Any], parts: Sequence[str], column: str) -> bool:
    """Return whether a column of whole numbers holds microseconds: the median of some rows is too large for milliseconds."""
    some = sql.SQL(
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY at) FROM "
        "(SELECT {column} AS at FROM {table} WHERE {column} IS NOT NULL LIMIT {rows}) AS sample"
    ).format(column=sql.Identifier(column), table=sql.Identifier(*parts), rows=sql.Literal(_SAMPLE))
    row = connection.execute(some).fetchone()
    return row is not None and row[0] is not None and row[0] > MAX_TIME_MS


def _column_types(connection: psycopg.Connection[Any], parts: Sequence[str]) -> dict[str, str]:
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (sql.Identifier(*parts).as_string(connection),),
    ).fetchall()
    return dict(rows)


def _columns(shown: str, types: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the column of each field that the table has."""
    columns = {}
    for field, common in RAW_TABLE.items():
        name = given[field] if field in given else first_present(common, types)
        if name and name not in types:
            raise RawTableError(f"{shown} has no column {name!r}; it has {', '.join(map(repr, types))}")
        if name:
            columns[field] = name
    return columns


def _check_types(shown: str, columns: Mapping[str, tuple[str, str]]) -> None:
    """Check the type of each field's column, given as (column, type)."""
    for field, allowed in _TYPES.items():
        column, kind = columns.get(field, ("", allowed[0]))
        if kind not in allowed:
            raise RawTableError(f"{shown}.{column} is {kind}: {field} must be {', '.join(allowed)}")
    for field in ("bids", "asks", "depth"):
        column, kind = columns.get(field, ("", "json"))
        if kind not in ("json", "jsonb") and not kind.endswith("[]"):
            raise RawTableError(f"{shown}.{column} is {kind}: {field} must be an array, json or jsonb")
