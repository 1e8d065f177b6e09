"""Tables of trades: for each format the names of its columns, whose side it tells, and what its sizes are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ingest.imports.formats.form import Context, Format, Head, Market, checked, column_names, event_us, number, rejected
from ingest.imports.formats.table import Row, rows_of
from ingest.messages.check import check_trade, known_trade_id
from ingest.messages.kinds import Trade, time_fields
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.files import FileFormError
from ingest.recordings.lines import Output
from ingest.recordings.own import SIDES
from ingest.recordings.rows import time_us

TAKER, MAKER, UNKNOWN = "taker", "maker", "unknown"
_OTHER = {"buy": "sell", "sell": "buy", None: None}
_CONTRACTS = (
    "Sizes of derivatives are as the venue writes them, in contracts where it trades contracts: give such a symbol its "
    "contract_size (and inverse) in the file of TFS_INSTRUMENTS."
)


@dataclass(frozen=True, slots=True)
class TradeTable:
    """How a table of trades is read.

    Attributes
    ----------
    columns : mapping
        The column of each field: ``time``, ``price``, ``size`` and, where the format has them, ``symbol``, ``side``, ``trade_id``,
        ``received``, ``exchange`` and ``own`` (whose order a trade of one's own was).
    unnamed : sequence of str
        The columns of a file without a row of names; empty where there is one.
    side_of : callable
        Returns whose side the column says, from the columns, the path and the context.
    symbol : pattern
        Finds the symbol in the name of the file, without folder and endings.
    """

    columns: Mapping[str, str]
    side_of: Callable[[Sequence[str], Path, Context], str] = lambda *_: TAKER
    unnamed: Sequence[str] = ()
    symbol: re.Pattern[str] | None = None
    note: str = ""


def read(table: TradeTable, path: Path, context: Context) -> Iterator[Output]:
    """Yield the trades of a file, in its order."""
    rows = rows_of(path)
    names = list(table.unnamed) or column_names(_first(path, rows))
    at = {name: names.index(column) for name, column in table.columns.items() if column in names}
    symbol = "" if "symbol" in at else context.symbol or symbol_of(table.symbol, path)
    whose = table.side_of(names, path, context)
    if table.note:
        context.note(table.note)
    exchange = None
    for line, row in enumerate(rows, 1 if table.unnamed else 2):
        try:
            if isinstance(row, Refused):
                raise row
            if len(row) != len(names):
                raise Refused(Reason.UNDECODABLE, f"{len(row)} fields, and the file has {len(names)} columns")
            told = {name: row[i] for name, i in at.items()}
            if told.get("exchange") != exchange:
                if exchange is not None:
                    raise Refused(
                        Reason.OTHER_MARKET, f"a row of {told['exchange']!s:.40} in a file of {exchange!s:.40}"
                    )
                exchange = told["exchange"]
            yield trade_of(told, symbol, whose, context)
        except Refused as refused:
            yield rejected(path, line, row if isinstance(row, list) else "", refused)


def trade_of(told: Mapping[str, Any], symbol: str, whose: str, context: Context) -> Output:
    """Return the trade of the fields of a row; raise ``Refused`` if it is impossible."""
    if str(told.get("own") or "").lower() == "maker":
        raise Refused(Reason.WRONG_TYPE, "a trade of an own order that was the maker: its side is not the aggressor's")
    name = symbol or told.get("symbol") or ""
    at_us = event_us("time", told.get("time"))
    received_us = time_us("received", told.get("received"))
    received = None if received_us is None else -(-received_us // 1000)
    timestamp, timestamp_us = time_fields(at_us)
    message = Trade(
        timestamp,
        f"{context.prefix}{name}",
        number("price", told.get("price")),
        number("size", told.get("size")),
        side_of(told.get("side"), whose),
        _id(told.get("trade_id")),
        received,
        timestamp_us=timestamp_us,
    )
    check_trade(message)
    return checked("trade", message, received)


def side_of(value: Any, whose: str) -> str | None:
    """Return the aggressor's side; None where nobody tells it."""
    if value is None or whose == UNKNOWN:
        return None
    word = str(value).strip().lower()
    if word not in SIDES:
        raise Refused(Reason.WRONG_TYPE, f"side {word!r:.20} is neither buy nor sell")
    return SIDES[word] if whose == TAKER else _OTHER[SIDES[word]]


def symbol_of(pattern: re.Pattern[str] | None, path: Path) -> str:
    """Return the symbol in a file's name; raise ``FileFormError`` if it names none."""
    stem = path.name
    while (
        end := re.search(r"\.(gz|bz2|xz|zst|zip|csv|txt|data|json|jsonl|parquet)$", stem, re.IGNORECASE)
    ) is not None:
        stem = stem[: end.start()]
    found = pattern.search(stem) if pattern else None
    if found is None:
        raise FileFormError(f"{path.name} does not name its symbol: give it with --symbol")
    return found[1]


def _id(value: Any) -> int | str | None:
    """Return an id; a column of whole numbers with holes is one of floats in pandas."""
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None if value != value else str(value)
    return known_trade_id(value if value is None or isinstance(value, int) else str(value))


def _first(path: Path, rows: Iterator[Row]) -> list[Any]:
    row = next(rows, [])
    if isinstance(row, Refused):
        raise FileFormError(f"{path.name} is not read: its row of names is damaged: {row.detail}")
    return row


def _numbers(row: Sequence[Any], count: int) -> bool:
    try:
        return len(row) == count and all(float(cell) >= 0 for cell in row)
    except (TypeError, ValueError):
        return False


def _has(*columns: str, without: Sequence[str] = ()) -> Callable[[Head], bool]:
    return lambda head: set(columns) <= set(head.columns) and not set(without) & set(head.columns)


def is_seconds(value: Any) -> bool:
    """Return whether a number is a time in seconds between 2009 and 2100."""
    try:
        return 1_230_768_000 <= float(value) < 4_102_444_800
    except (TypeError, ValueError):
        return False


def _is_okx_unnamed(head: Head) -> bool:
    row = head.rows[0] if head.rows else ()
    sided = len(row) == 5 and str(row[1]).strip().lower() in ("buy", "sell")
    return sided and _numbers([row[0], *row[2:]], 4) and float(row[4]) >= 1_230_768_000_000


def _is_kraken(head: Head) -> bool:
    return bool(head.rows) and all(_numbers(row, 3) and is_seconds(row[0]) for row in head.rows)


def is_kraken_bars(head: Head) -> bool:
    """Return whether a file without names has a time and bars: open, high, low, close, (vwap,) volume, trades."""
    row = head.rows[0] if head.rows else ()
    return any(_numbers(row, n) for n in (7, 8)) and is_seconds(row[0]) and float(row[2]) >= float(row[3])


def _coinbase_side(names: Sequence[str], path: Path, context: Context) -> str:
    signs = ("coinbase", "gdax", "cbpro")
    if {"product_id", "maker_order_id"} & set(names) or any(s in f"{context.venue} {path.name.lower()}" for s in signs):
        return MAKER
    context.note(
        "The side is null: such columns are Coinbase's, where the side is the maker's, and others' too. If the file is of "
        "Coinbase, say so with --venue coinbase."
    )
    return UNKNOWN


def tardis_kind(head: Head) -> str:
    """Return ``trade`` or ``liquidation`` as the file is named, or without that one of its folders; empty where they do not tell.

    >>> tardis_kind(Head(Path("bybit_trades_2020-01-01_BTCUSD.csv.gz"), [])), tardis_kind(Head(Path("liquidations/x.csv"), []))
    ('trade', 'liquidation')
    """
    for words in (re.split("[^a-z]+", head.path.name.lower()), [part.lower() for part in head.path.parts[-7:-1]]):
        kinds = {word.removesuffix("s") for word in words} & {"trade", "liquidation"}
        if kinds:
            return kinds.pop() if len(kinds) == 1 else ""
    return ""


_TARDIS = {
    "exchange": "exchange", "symbol": "symbol", "time": "timestamp", "received": "local_timestamp", "trade_id": "id",
    "side": "side", "price": "price", "size": "amount",
}  # fmt: skip
_is_tardis = _has("exchange", "symbol", "timestamp", "local_timestamp", "id", "side", "price", "amount")
_BYBIT = {
    "time": "timestamp",
    "symbol": "symbol",
    "side": "side",
    "size": "size",
    "price": "price",
    "trade_id": "trdmatchid",
}
_OKX = {
    "symbol": "instrument_name", "trade_id": "trade_id", "side": "side", "size": "size", "price": "price",
    "time": "created_time",
}  # fmt: skip
_OKX_NAME = re.compile(r"^([A-Z0-9]+-[A-Z0-9]+(?:-[A-Z0-9]+)*?)-(?:agg)?trades-\d{4}-\d\d")
_COINBASE = {
    "symbol": "product_id", "time": "time", "trade_id": "trade_id", "price": "price", "size": "size", "side": "side",
}  # fmt: skip
ORDER = ("status", "filled", "remaining")  # what an order of ccxt has and a trade has not
CCXT = {
    "symbol": "symbol", "time": "timestamp", "trade_id": "id", "side": "side", "price": "price", "size": "amount",
    "own": "takerormaker",
}  # fmt: skip


def _bybit_or_bitmex(head: Head) -> Market:
    """Return the market: BitMEX publishes the same columns, and writes its times as text."""
    try:
        return Market("bybit" if is_seconds(head.rows[1][head.columns.index("timestamp")]) else "bitmex")
    except IndexError:
        return Market()


def _format(
    name: str,
    lacks: str,
    recognise: Callable[[Head], bool],
    table: TradeTable,
    market: Callable[[Head], Market] = lambda head: Market(),
) -> Format:
    return Format(name, lacks, recognise, partial(read, table), market=market)


FORMATS = (
    _format(
        "Tardis trades",
        "Nothing is missing.",
        lambda head: _is_tardis(head) and tardis_kind(head) == "trade",
        TradeTable(_TARDIS, note=_CONTRACTS),
    ),
    _format(
        "Bybit or BitMEX trades",
        "Books are in files of their own.",
        _has("timestamp", "symbol", "side", "size", "price", "trdmatchid"),
        TradeTable(_BYBIT, note=_CONTRACTS),
        _bybit_or_bitmex,
    ),
    _format(
        "Bybit spot trades",
        "The ids count the rows of a day, so trades get none.",
        _has("id", "timestamp", "price", "volume", "side", without=("symbol", "datetime")),
        TradeTable(
            {"time": "timestamp", "price": "price", "size": "volume", "side": "side"},
            symbol=re.compile(r"^([A-Z0-9]+)[-_]\d{4}-\d\d"),
        ),
    ),
    _format(
        "OKX trades",
        "Books are in files of their own.",
        _has("trade_id", "side", "size", "price", "created_time"),
        TradeTable(_OKX, symbol=_OKX_NAME, note=_CONTRACTS),
    ),
    _format(
        "OKX trades without names",
        "Books are in files of their own.",
        _is_okx_unnamed,
        TradeTable(
            _OKX, unnamed=("trade_id", "side", "size", "price", "created_time"), symbol=_OKX_NAME, note=_CONTRACTS
        ),
    ),
    _format(
        "Kraken trades",
        "It has no side and no ids.",
        _is_kraken,
        TradeTable(
            {"time": "time", "price": "price", "size": "volume"},
            unnamed=("time", "price", "volume"),
            symbol=re.compile(r"^([A-Z0-9.]{4,20})$"),
        ),
    ),
    _format(
        "Coinbase trades",
        "The side is the opposite of the maker's; it is null where nothing says that the file is of Coinbase.",
        _has("time", "trade_id", "price", "size", "side"),
        TradeTable(_COINBASE, _coinbase_side, symbol=re.compile(r"(?:^|_)([A-Z0-9]{2,10}-[A-Z]{3,5})(?:[_-]|$)")),
    ),
    _format(
        "ccxt trades",
        "Nothing is missing where the venue gives it.",
        _has("timestamp", "datetime", "symbol", "side", "price", "amount", without=ORDER),
        TradeTable(CCXT, note=_CONTRACTS),
    ),
)
