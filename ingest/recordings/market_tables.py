"""Trades and books from Parquet and CSV files, a row a message, as lines of our own JSON: so they are parsed and checked as any line is.

A file with a column of prices and one of sizes holds trades, one with bids and asks (lists of (price, size), or their JSON) or with a
column a level (``bid_px_0``, ``bid_qty_0``, ``ask_px_0``, ...) holds books, best first; any other holds posts. Rows are in the order in
which they arrived. Times are as in files of posts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.messages.refusal import Refused
from ingest.recordings.columns import BOOK, COMMON, MARKET_FILE, TRADE, GivenColumns, first_present
from ingest.recordings.lines import Line
from ingest.recordings.posts import SUFFIXES, PostsFileError, csv_rows, parquet_rows, time_ms

_TIMES = ("timestamp", "received", "next_funding")
_SIDES = ("bids", "asks")
_LEVEL = re.compile(r"(bid|ask)s?_(px|price|qty|size|quantity|amount)_(\d{1,3})")
_NS_PER_MS = 1_000_000

Levels = dict[str, list[tuple[str, str]]]
"""For each side the columns of price and size of each level."""


def is_market(path: Path) -> bool:
    """Whether a file holds trades or books in columns."""
    return path.suffix in SUFFIXES and _kind(_columns(path)) is not None


def symbols(path: Path, columns: GivenColumns = COMMON) -> frozenset[str]:
    """The symbols of a file of trades or books.

    Raises
    ------
    PostsFileError
        No column names them, and neither does ``columns.symbol``.
    """
    name = _find(path.name, _columns(path), columns).get("symbol")
    if name is None:
        return frozenset([columns.symbol or ""])
    if path.suffix == ".parquet":
        found: set[Any] = set()
        for batch in pq.ParquetFile(path).iter_batches(columns=[name]):
            found.update(batch.column(0).unique().to_pylist())
    else:
        found = {row.get(name) for row in csv_rows(path)[1]}
    return frozenset(str(symbol) for symbol in found if symbol)


def read_lines(path: Path, columns: GivenColumns = COMMON, limit: int | None = None) -> Iterator[Line]:
    """The first ``limit`` rows of a file of trades or books, each as the JSON of our message.

    Raises
    ------
    PostsFileError
        A column that is needed is not there.
    """
    names, rows = parquet_rows(path) if path.suffix == ".parquet" else csv_rows(path)
    found = _find(path.name, names, columns)
    levels = _levels(names) if "bids" not in found and "price" not in found else {}
    stream = "market_data" if "price" in found else "order_book"
    encode = msgspec.json.Encoder(enc_hook=str).encode
    last_ns = 0
    for number, row in enumerate(islice(rows, limit), 1):
        message: dict[str, Any] = {"stream": stream, "symbol": columns.symbol}
        for field, name in found.items():
            value = row.get(name)
            if value is None or value == "":
                continue
            message[field] = _time(field, value) if field in _TIMES else _side(value) if field in _SIDES else value
        for side, of_side in levels.items():
            message[side] = [[row[p], row[s]] for p, s in of_side if _there(row.get(p)) and _there(row.get(s))]
        at = message.get("received", message.get("timestamp"))
        last_ns = at * _NS_PER_MS if isinstance(at, int) else last_ns
        try:
            data = encode(message)
        except UnicodeEncodeError:
            data = json.dumps(message, default=str).encode()
        yield Line(path.name, number, last_ns, data, False)


def _columns(path: Path) -> Sequence[str]:
    if path.suffix == ".parquet":
        try:
            return list(pq.read_schema(path).names)
        except pa.ArrowInvalid as error:
            raise PostsFileError(f"{path.name}: {error}") from None
    return csv_rows(path)[0]


def _kind(names: Sequence[str]) -> str | None:
    if "text" in names:
        return None  # a post may have a price
    if _common(names, "bids") and _common(names, "asks"):
        return "book"
    if _common(names, "price") and _common(names, "size"):
        return "trade"
    return "book" if _levels(names) else None


def _common(names: Sequence[str], field: str) -> str | None:
    return first_present(MARKET_FILE[field], names)


def _find(file: str, names: Sequence[str], columns: GivenColumns) -> dict[str, str]:
    """The column of each field that the file has."""
    given = {"timestamp": columns.timestamp, "symbol": columns.symbols}
    of_kind = TRADE if _kind(names) == "trade" else BOOK
    found = {}
    for field in ("timestamp", "symbol", "received", *of_kind):
        name = given[field] if given.get(field) in names else _common(names, field)
        if name is not None:
            found[field] = name
    if "timestamp" not in found:
        raise PostsFileError(f"{file} has no column of times that is known by its name: say which with --time-column")
    if "symbol" not in found and not columns.symbol:
        raise PostsFileError(
            f"{file} has no column of symbols: say which with --symbol-column, or what it is about with --symbol"
        )
    return found


def _levels(names: Sequence[str]) -> Levels:
    """The columns of each level, where a file has one a level; empty where it has not, or not on both sides."""
    of: dict[tuple[str, int], dict[bool, str]] = {}
    for name in names:
        if match := _LEVEL.fullmatch(name):
            of.setdefault((match[1] + "s", int(match[3])), {})[match[2] in ("px", "price")] = name
    levels: Levels = {"bids": [], "asks": []}
    for (side, _), pair in sorted(of.items()):
        if len(pair) == 2:
            levels[side].append((pair[True], pair[False]))
    return levels if all(levels.values()) else {}


def _there(value: Any) -> bool:
    return value is not None and value != "" and value == value


def _time(field: str, value: Any) -> Any:
    """Milliseconds; what is no time stays as it is, and whoever parses the line refuses it."""
    try:
        return time_ms(field, value)
    except Refused:
        return str(value)


def _side(value: Any) -> Any:
    """Levels of a book: a list as it is, its JSON, or structs of two fields as pairs."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return [list(level.values()) for level in value]
    return value
