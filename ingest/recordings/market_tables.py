"""Trades and books from Parquet and CSV files, a row a message.

Each row becomes a line of this project's own JSON, so it is parsed and checked as any line is. A file with a column of prices and
one of sizes holds trades. A file holds books, best level first, if it has bids and asks (lists of (price, size), or their JSON) or a
column for each level (``bid_px_0``, ``bid_qty_0``, ``ask_px_0``, ...; or ``bids[0].price``, ``bids[0].amount``, ...). A file of changes of
a book is not read. Any other file holds posts. Rows are in order of arrival.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.messages.kinds import time_fields
from ingest.messages.refusal import Refused
from ingest.recordings.columns import BOOK, COMMON, MARKET_FILE, NO_COLUMN, TRADE, GivenColumns, first_present
from ingest.recordings.files import is_parquet, is_table
from ingest.recordings.lines import NS_PER_US, Line, SourceFile
from ingest.recordings.rows import Row, TableFileError, read_rows, time_us

_TIMES = ("received", "next_funding")
_SIDES = ("bids", "asks")
_LEVELS = (
    re.compile(r"(?P<side>bid|ask)s?_(?P<what>px|price|qty|size|sz|quantity|amount|volume|vol)_(?P<level>\d{1,3})"),
    re.compile(r"(?P<side>bid|ask)s\[(?P<level>\d{1,3})\]\.(?P<what>price|amount)"),
)
_PRICE = ("px", "price")
_ZERO = re.compile(r"\s*0*\.?0*\s*").fullmatch
_DAY_CHARS = len("2026-01-31")
_AGGRESSOR = {"true": "sell", "t": "sell", "1": "sell", "false": "buy", "f": "buy", "0": "buy"}
"""The aggressor's side by whether the buyer was the maker."""

Levels = dict[str, list[tuple[str, str]]]  # the columns of price and size of each level, by side


def is_market(path: Path) -> bool:
    """Return whether a file holds trades or books in columns."""
    return is_table(path) and kind_of(read_rows(path)[0]) is not None


def symbols(path: Path, columns: GivenColumns = COMMON) -> frozenset[str]:
    """Return the symbols of a file of trades or books. Raise ``TableFileError`` as `read_lines`."""
    names, rows = read_rows(path)
    name = _find_columns(path.name, names, columns).get("symbol")
    if name is None:
        return frozenset([columns.symbol or ""])
    if is_parquet(path):
        found: set[Any] = set()
        for batch in pq.ParquetFile(path).iter_batches(columns=[name]):
            found.update(batch.column(0).unique().to_pylist())
    else:
        found = {row.get(name) for row in rows}
    return frozenset(str(symbol) for symbol in found if symbol)


def columns_of(path: Path, columns: GivenColumns = COMMON) -> Mapping[str, str]:
    """Return the column of each field of a file of trades or books. Raise ``TableFileError`` as `read_lines`."""
    return _find_columns(path.name, read_rows(path)[0], columns)


def has_no_zone(path: Path, column: str) -> bool:
    """Return whether the times in a column are dates that name no zone, by their type or by the first row."""
    if is_parquet(path):
        kind = pq.read_schema(path).field(column).type
        if pa.types.is_timestamp(kind):
            return kind.tz is None
    first = next(read_rows(path)[1], {}).get(column)
    if not isinstance(first, str):
        return False
    try:
        return datetime.fromisoformat(first.strip()).tzinfo is None and not first.strip().isdecimal()
    except ValueError:
        return False


def read_lines(
    path: Path, columns: GivenColumns = COMMON, limit: int | None = None, file: SourceFile | None = None
) -> Iterator[Line]:
    """Yield the first ``limit`` rows of a file of trades or books as JSON lines.

    Raise ``TableFileError`` if it has no column of times, or none of symbols and ``columns.symbol`` is not given.
    """
    names, rows = read_rows(path)
    found = _find_columns(path.name, names, columns)
    levels = _find_levels(names) if "bids" not in found and "price" not in found else {}
    stream = "market_data" if "price" in found else "order_book"
    encode = msgspec.json.Encoder(enc_hook=str).encode
    last_ns = 0
    for number, row in enumerate(islice(rows, limit), 1):
        message = _message(row, found, levels, {"stream": stream, "symbol": columns.symbol})
        last_ns = _arrived_us(message, last_ns // NS_PER_US) * NS_PER_US
        try:
            data = encode(message)
        except UnicodeEncodeError:
            data = json.dumps(message, default=str).encode()
        yield Line(path.name, number, last_ns, data, False, file)


def _message(row: Row, found: Mapping[str, str], levels: Levels, message: dict[str, Any]) -> dict[str, Any]:
    for field, name in found.items():
        value = row.get(name)
        if isinstance(value, str):
            value = value.strip()
        if value is None or value == "":
            continue
        if field == "maker_bought":
            message.setdefault("side", _aggressor(value))
            continue
        if field == "timestamp":
            message.update(_event_time(value))
        elif field in _TIMES:
            message[field] = _time_ms(field, value)
        else:
            message[field] = _side(value) if field in _SIDES else value
    for side, of_side in levels.items():
        message[side] = [[row[p], row[s]] for p, s in of_side if _is_level(row.get(p), row.get(s))]
    return message


def _aggressor(maker_bought: Any) -> str:
    """Return the aggressor's side; a value that is no truth stays text, and the checks refuse it."""
    return _AGGRESSOR.get(str(maker_bought).strip().lower(), str(maker_bought))


def kind_of(names: Sequence[str], columns: GivenColumns = COMMON) -> str | None:
    """Return what a file with these columns holds, ``trade`` or ``book``; None where it is neither."""
    given = dict(columns.fields)
    if all(given.get(field) in names for field in ("bids", "asks")):
        return "book"
    if given and all(given.get(field) in names or _common(names, field) for field in ("price", "size")):
        return "trade"
    if "text" in names or "is_snapshot" in names:
        return None  # a post may have a price, and changes of a book have price, amount and side
    if _common(names, "bids") and _common(names, "asks"):
        return "book"
    if _common(names, "price") and _common(names, "size"):
        return "trade"
    return "book" if _find_levels(names) else None


def _common(names: Sequence[str], field: str) -> str | None:
    return first_present(MARKET_FILE[field], names)


def _find_columns(file: str, names: Sequence[str], columns: GivenColumns) -> dict[str, str]:
    """Return the column of each field that the file has."""
    given = {"timestamp": columns.timestamp, "symbol": columns.symbols}
    for field, column in columns.fields:
        if column and column not in names:
            raise TableFileError(f"{file} has no column {column!r}; it has {', '.join(map(repr, names))}")
        given[field] = column
    of_kind = TRADE if kind_of(names, columns) == "trade" else BOOK
    found: dict[str, str] = {}
    for field in ("timestamp", "symbol", "received", "venue", *of_kind):
        if given.get(field) == NO_COLUMN:
            continue
        name = given[field] if given.get(field) in names else _common(names, field)
        if name is not None and name not in found.values():
            found[field] = name
    if "timestamp" not in found:
        raise TableFileError(f"{file} has no column with a common name of times; name it with --time-column")
    if "symbol" not in found and not columns.symbol:
        raise TableFileError(
            f"{file} has no column of symbols: name it with --symbol-column, or give the one symbol with --symbol"
        )
    return found


def _find_levels(names: Sequence[str]) -> Levels:
    """Return the columns of each level; empty if the file has no column for each level, or only on one side."""
    columns: dict[tuple[str, int], dict[bool, str]] = {}
    for name in names:
        if match := next(filter(None, (form.fullmatch(name) for form in _LEVELS)), None):
            level = match["side"] + "s", int(match["level"])
            columns.setdefault(level, {})[match["what"] in _PRICE] = name
    levels: Levels = {"bids": [], "asks": []}
    for (side, _), of_level in sorted(columns.items()):
        if len(of_level) == 2:
            levels[side].append((of_level[True], of_level[False]))
    return levels if all(levels.values()) else {}


def _is_level(price: Any, size: Any) -> bool:
    """Return whether cells hold a level; both empty, NaN or 0 fill the columns of one that the book does not have.

    >>> _is_level(100.5, "0"), _is_level("0.00", "0"), _is_level(None, None)
    (True, False, False)
    """
    return _is_number(price) and _is_number(size) and not (_is_zero(price) and _is_zero(size))


def _is_zero(value: Any) -> bool:
    return value == 0 or (isinstance(value, str) and _ZERO(value) is not None)


def _is_number(value: Any) -> bool:
    """Return whether a cell of a level holds something other than NaN."""
    return value is not None and value != "" and value == value


def _event_time(value: Any) -> dict[str, Any]:
    """Return the field of the event time, in milliseconds where it has no finer part.

    What is no time, or a day without a time, stays text, and is refused.
    """
    if _is_day(value):
        return {"timestamp": str(value)}
    try:
        ms, us = time_fields(time_us("timestamp", value) or 0)
    except Refused:
        return {"timestamp": str(value)}
    return {"timestamp": ms} if us is None else {"timestamp_us": us}


def _is_day(value: Any) -> bool:
    """Return whether a value is a day without a time, so that no trade happened at it.

    >>> _is_day("2026-01-31"), _is_day("2026-01-31T00:00:00"), _is_day(1769817600)
    (True, False, False)
    """
    if isinstance(value, str):
        return len(value) == _DAY_CHARS and value[4] == value[7] == "-"
    return isinstance(value, date) and not isinstance(value, datetime)


def _time_ms(field: str, value: Any) -> Any:
    """Return milliseconds; a value that is no time stays text, and the parser of the line refuses it."""
    try:
        us = time_us(field, value)
    except Refused:
        return str(value)
    return us if us is None else us // 1000


def _arrived_us(message: Mapping[str, Any], before_us: int) -> int:
    """Return when a row was received, or without that its event time; ``before_us``, that of the row before, where it says neither."""
    for field, scale in (("received", 1000), ("timestamp_us", 1), ("timestamp", 1000)):
        at = message.get(field)
        if isinstance(at, int):
            return at * scale
    return before_us


def _side(value: Any) -> Any:
    """Return the levels of a side: JSON is parsed, and levels with names become pairs of price and size.

    >>> _side('[{"size": "2", "price": "99.5"}]'), _side([{"limit": 1, "much": 2}])
    ([['99.5', '2']], [{'limit': 1, 'much': 2}])
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    if isinstance(value, list) and value and all(isinstance(level, Mapping) for level in value):
        price, size = (_common(list(value[0]), field) for field in ("price", "size"))
        if price and size and all(level.keys() >= {price, size} for level in value):
            return [[level[price], level[size]] for level in value]
    return value
