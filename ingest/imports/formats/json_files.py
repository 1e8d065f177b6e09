"""JSON of Bybit (order books, `ob500` and `ob200`) and of ccxt (trades and order books)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingest.imports.formats.changes import Changes
from ingest.imports.formats.form import Context, Format, Head, Market, checked, event_us, number, rejected
from ingest.imports.formats.json_items import items_of
from ingest.imports.formats.trade_tables import CCXT, ORDER
from ingest.imports.formats.trades import TAKER, trade_of
from ingest.messages.kinds import OrderBook, time_fields
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.book import Level
from ingest.recordings.lines import Output
from ingest.recordings.own import check_numbers

_CCXT_JSON = {name: "takerOrMaker" if name == "own" else column for name, column in CCXT.items()}


def _text(head: Head) -> str:
    return "".join(head.lines[:6])


def _levels(name: str, levels: Any) -> list[Level]:
    """Return levels of price and size; what stands behind these two is left out."""
    try:
        return [(number(name, level[0]), number(name, level[1])) for level in levels]
    except (TypeError, IndexError, KeyError):
        raise Refused(Reason.WRONG_TYPE, f"{name} are no list of price and size") from None


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, Refused):
        raise value
    if not isinstance(value, dict):
        raise Refused(Reason.WRONG_TYPE, f"{value!s:.40} is no object")
    return value


def _read_bybit(path: Path, context: Context) -> Iterator[Output]:
    """Yield the books of a file. The event time is ``ts``: that of the matching engine is not in every message."""
    books: dict[str, Changes] = {}
    last: dict[str, int] = {}
    for line, value in items_of(path):
        try:
            told = _object(value)
            topic, data = str(told.get("topic")).split("."), told.get("data")
            if topic[0] != "orderbook" or len(topic) < 3 or not topic[1].isdecimal() or not isinstance(data, dict):
                raise Refused(Reason.WRONG_TYPE, f"topic {told.get('topic')!s:.40} is no order book")
            symbol, update = f"{context.prefix}{data.get('s')}", data.get("u")
            book = books.get(symbol) or books.setdefault(symbol, Changes(symbol, context, int(topic[1])))
            at_us = event_us("ts", told.get("ts"))
            bids, asks = _levels("b", data.get("b", [])), _levels("a", data.get("a", []))
            if not isinstance(update, int):
                raise Refused(Reason.MISSING_FIELD, "u")
            known, last[symbol] = last.get(symbol), update
            if told.get("type") == "snapshot":
                yield from book.begin(bids, asks, at_us)
            elif told.get("type") != "delta":
                raise Refused(Reason.WRONG_TYPE, f"type {told.get('type')!s:.20} is neither snapshot nor delta")
            elif known is not None and update != known + 1:
                yield from book.lose()
                raise Refused(Reason.SEQUENCE_GAP, f"update {update} after {known}: unknown until the next snapshot")
            else:
                yield from book.change(bids, asks, at_us)
        except Refused as refused:
            yield rejected(path, line, value if isinstance(value, dict) else "", refused)


def _read_ccxt(path: Path, context: Context) -> Iterator[Output]:
    for line, value in items_of(path):
        try:
            told = _object(value)
            if "bids" in told:
                yield _ccxt_book(told, context)
            elif any(told.get(name) is not None for name in ORDER):
                raise Refused(Reason.WRONG_TYPE, "an order, and no trade")
            else:
                fields = {name: told.get(column) for name, column in _CCXT_JSON.items()}
                yield trade_of(fields, "" if fields["symbol"] else context.symbol, TAKER, context)
        except Refused as refused:
            yield rejected(path, line, value if isinstance(value, dict) else "", refused)


def _ccxt_book(told: dict[str, Any], context: Context) -> Output:
    if told.get("timestamp") is None:
        raise Refused(Reason.MISSING_FIELD, "timestamp: this venue gives ccxt no time of its books")
    timestamp, timestamp_us = time_fields(event_us("timestamp", told["timestamp"]))
    symbol = f"{context.prefix}{told.get('symbol') or context.symbol}"
    bids, asks = _levels("bids", told["bids"]), _levels("asks", told.get("asks"))
    message = OrderBook(timestamp, symbol, bids, asks, timestamp_us=timestamp_us)
    check_numbers(message)
    return checked("book", message)


FORMATS = (
    Format(
        "Bybit order books",
        "A book is known as far as the levels that the venue keeps; trades are in files of their own.",
        lambda head: '"topic"' in _text(head) and '"orderbook.' in _text(head),
        _read_bybit,
        market=lambda head: Market("bybit"),
        needs_order=True,
    ),
    Format(
        "ccxt JSON",
        "A book is known as far as its levels go; many venues give it no time, and such a book is refused.",
        lambda head: (
            _text(head).lstrip("[ ").startswith("{")
            and all(word in "".join(head.lines) for word in ('"timestamp"', '"datetime"', '"symbol"'))
        ),
        _read_ccxt,
    ),
)
