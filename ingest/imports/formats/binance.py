"""Binance's public data: trades one by one and aggregates of trades, of spot and of futures.

Files have no row of names, or had none until some date, so the number of cells and what stands in them tell the table and the market::

    spot trades          id, price, qty, quoteQty, time, isBuyerMaker, isBestMatch
    spot aggregates      id, price, qty, first id, last id, time, isBuyerMaker, isBestMatch
    futures trades       id, price, qty, quoteQty or baseQty, time, isBuyerMaker
    futures aggregates   id, price, qty, first id, last id, time, isBuyerMaker

Times are milliseconds, of spot since 2025 microseconds. The name of the file has the symbol: ``BTCUSDT-aggTrades-2025-01-01.zip``.

Source: https://github.com/binance/binance-public-data
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ingest.imports.formats.form import (
    Context,
    Format,
    Head,
    Market,
    checked,
    number,
    refusing,
    rejected,
)
from ingest.imports.formats.table import rows_of
from ingest.imports.formats.trades import symbol_of
from ingest.messages.check import check_trade, known_trade_id
from ingest.messages.kinds import Trade, time_fields
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.lines import Output

TRADES, AGGREGATES = "trade", "aggTrade"
SPOT = Market("binance")
USD_M = Market("binance-futures", "BINANCE-FUTURES:")
COIN_M = Market("binance-coinm", "BINANCE-COINM:")
_SYMBOL = re.compile(r"^([^-\s]+)-(?:aggT|t)rades(?:-|$)")
OF_COIN_M = re.compile(r"USD_(?:PERP|\d{6})$")
"""Finds the end of the symbols of futures that are paid in coins."""
_MAKER = {"true": "sell", "1": "sell", "false": "buy", "0": "buy"}
"""The aggressor's side by whether the buyer was the maker."""
_TIMES = 1_230_768_000_000, 4_102_444_800_000_000  # 2009 in milliseconds, 2100 in microseconds
_MICROSECONDS = 100_000_000_000_000  # a smaller time is in milliseconds; this is 1973 or the year 5138
_NAMES = {
    ("id", "tradeid"): "id", ("price",): "price", ("qty", "quantity"): "qty", ("quoteqty", "baseqty"): "worth",
    ("time", "timestamp", "transacttime"): "time", ("isbuyermaker",): "maker", ("isbestmatch",): "best",
    ("aggtradeid", "aggregatetradeid"): "id", ("firsttradeid",): "first", ("lasttradeid",): "last",
    ("wasthebuyerthemaker",): "maker", ("wasthetradethebestpricematch",): "best",
}  # fmt: skip
_FIELD = {name: field for names, field in _NAMES.items() for name in names}


class Table(NamedTuple):
    """One of the four tables; ``fields`` are those of its cells, in their order."""

    form: str
    is_spot: bool
    fields: tuple[str, ...]


TABLES = (
    Table(TRADES, True, ("id", "price", "qty", "worth", "time", "maker", "best")),
    Table(AGGREGATES, True, ("id", "price", "qty", "first", "last", "time", "maker", "best")),
    Table(TRADES, False, ("id", "price", "qty", "worth", "time", "maker")),
    Table(AGGREGATES, False, ("id", "price", "qty", "first", "last", "time", "maker")),
)


def table_of(head: Head) -> Table | None:
    """Return the table that a file holds; None if it is no such file."""
    if not head.rows:
        return None
    named = _fields(head.rows[0])
    for table in TABLES:
        if named is None and _holds(table, head.rows[0]):
            return table
        if named == table.fields and not (len(head.rows) > 1 and not _holds(table, head.rows[1])):
            return table
    return None


def _fields(row: Sequence[Any]) -> tuple[str, ...] | None:
    """Return the fields that a row of names names; None if it is none."""
    names = [re.sub(r"[^a-z]", "", str(cell).lower()) for cell in row]
    return tuple(_FIELD[name] for name in names) if all(name in _FIELD for name in names) else None


def _holds(table: Table, row: Sequence[Any]) -> bool:
    """Return whether a row may be one of the table."""
    if len(row) != len(table.fields):
        return False
    try:
        told = dict(zip(table.fields, map(str, row), strict=True))
        if any(told[name].lower() not in _MAKER for name in ("maker", "best") if name in told):
            return False
        whole = [int(told[name]) for name in ("id", "first", "last", "time") if name in told]
        return _TIMES[0] <= whole[-1] < _TIMES[1] and min(float(told["price"]), float(told["qty"])) > 0
    except ValueError:
        return False


def market_of(table: Table, head: Head) -> Market:
    """Return the market of a file."""
    if table.is_spot:
        return SPOT
    names = [re.sub(r"[^a-z]", "", str(cell).lower()) for cell in head.rows[0]]
    stem = head.symbol or head.path.name.partition("-")[0]
    return COIN_M if "baseqty" in names or OF_COIN_M.search(stem) else USD_M


def _read(form: str, path: Path, context: Context) -> Iterator[Output]:
    symbol = f"{context.prefix}{context.symbol or symbol_of(_SYMBOL, path)}"
    at: dict[str, int] = {}
    for line, row in enumerate(rows_of(path), 1):
        try:
            if isinstance(row, Refused):
                raise row
            if not at:
                named = _fields(row)
                fields = named or next(t.fields for t in TABLES if t.form == form and len(t.fields) == len(row))
                at = {field: i for i, field in enumerate(fields)}
                if named:
                    continue
            if len(row) != len(at):
                raise Refused(Reason.UNDECODABLE, f"{len(row)} cells, and the file has {len(at)} columns")
            yield _trade(row, at, symbol)
        except Refused as refused:
            yield rejected(path, line, row if isinstance(row, list) else "", refused)


def _trade(row: Sequence[Any], at: dict[str, int], symbol: str) -> Output:
    side = _MAKER.get(str(row[at["maker"]]).strip().lower())
    if side is None:
        raise Refused(Reason.WRONG_TYPE, f"isBuyerMaker {row[at['maker']]!s:.20} is neither true nor false")
    timestamp, timestamp_us = time_fields(_time_us(row[at["time"]]))
    cell = row[at["id"]]
    message = Trade(
        timestamp,
        symbol,
        number("price", row[at["price"]]),
        number("qty", row[at["qty"]]),
        side,
        known_trade_id(cell if isinstance(cell, int) else str(cell)),
        timestamp_us=timestamp_us,
    )
    check_trade(message)
    return checked("trade", message)


def _time_us(cell: Any) -> int:
    """Return a time in microseconds: the size of the number tells its unit."""
    try:
        at = int(cell)
    except (TypeError, ValueError):
        raise Refused(Reason.WRONG_TYPE, f"time {cell!s:.40} is no whole number") from None
    return at if at >= _MICROSECONDS else at * 1000


def _format(table: Table) -> Format:
    def market(head: Head) -> Market:
        return market_of(table, head)

    what = "trades" if table.form == TRADES else "aggregates of trades"
    return Format(
        f"Binance {'spot' if table.is_spot else 'futures'} {what}",
        "The file does not say when a trade was received.",
        lambda head: table_of(head) == table,
        partial(_read, table.form),
        market=market,
        form=table.form,
    )


def is_bars(head: Head) -> bool:
    """Return whether a file without names has bars of twelve cells."""
    row = head.rows[0] if head.rows else ()
    try:
        times = int(row[0]), int(row[6])
        values = [float(cell) for cell in row]
    except (ValueError, IndexError, TypeError):
        return False
    return len(row) == 12 and _TIMES[0] <= times[0] < times[1] < _TIMES[1] and values[2] >= values[3]


FORMATS = (
    *map(_format, TABLES),
    refusing(
        "Binance klines",
        "bars: features are computed from trades, so import trades or aggTrades; bars of a mark or an index price are read from a folder "
        "markPriceKlines or indexPriceKlines, or with this word in their names",
        lambda head: is_bars(head) and not re.search("(?i)(mark|index)PriceKlines", str(head.path)),
    ),
)
