"""The tables of trades of venues and vendors: how each is recognised, its columns, whose side it tells, and what its sizes are."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ingest.imports.formats.form import Context, Format, Head, Market
from ingest.imports.formats.trades import MAKER, UNKNOWN, TradeTable, read

_CONTRACTS = (
    "Sizes of derivatives are as the venue writes them, in contracts where it trades contracts: give such a symbol its "
    "contract_size (and inverse) in the file of TFS_INSTRUMENTS."
)


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


# another name is not Kraken's: bitcoincharts publishes the same three numbers
_KRAKEN_NAME = re.compile(r"^([A-Z0-9.]{4,20})$")


def _is_of_coinbase(names: Sequence[str], words: str) -> bool:
    """Return whether columns or words, which are names of a venue or of a file, say that trades are Coinbase's."""
    return bool({"product_id", "maker_order_id"} & set(names)) or any(s in words for s in ("coinbase", "gdax", "cbpro"))


def _coinbase_side(names: Sequence[str], path: Path, context: Context) -> str:
    if _is_of_coinbase(names, f"{context.venue} {path.name.lower()}"):
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


TARDIS = {
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
        TradeTable(TARDIS, note=_CONTRACTS),
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
        lambda head: Market("bybit"),
    ),
    _format(
        "OKX trades",
        "Books are in files of their own.",
        _has("trade_id", "side", "size", "price", "created_time"),
        TradeTable(_OKX, symbol=_OKX_NAME, note=_CONTRACTS),
        lambda head: Market("okx"),
    ),
    _format(
        "OKX trades without names",
        "Books are in files of their own.",
        _is_okx_unnamed,
        TradeTable(
            _OKX, unnamed=("trade_id", "side", "size", "price", "created_time"), symbol=_OKX_NAME, note=_CONTRACTS
        ),
        lambda head: Market("okx"),
    ),
    _format(
        "Kraken trades",
        "It has no side and no ids.",
        _is_kraken,
        TradeTable(
            {"time": "time", "price": "price", "size": "volume"},
            unnamed=("time", "price", "volume"),
            symbol=_KRAKEN_NAME,
        ),
        lambda head: Market("kraken") if _KRAKEN_NAME.match(head.path.name.partition(".csv")[0]) else Market(),
    ),
    _format(
        "Coinbase trades",
        "The side is the opposite of the maker's; it is null where nothing says that the file is of Coinbase.",
        _has("time", "trade_id", "price", "size", "side"),
        TradeTable(_COINBASE, _coinbase_side, symbol=re.compile(r"(?:^|_)([A-Z0-9]{2,10}-[A-Z]{3,5})(?:[_-]|$)")),
        lambda head: Market("coinbase") if _is_of_coinbase(head.columns, head.path.name.lower()) else Market(),
    ),
    _format(
        "ccxt trades",
        "Nothing is missing where the venue gives it.",
        _has("timestamp", "datetime", "symbol", "side", "price", "amount", without=ORDER),
        TradeTable(CCXT, note=_CONTRACTS),
    ),
)
