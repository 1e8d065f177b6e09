"""Books of Tardis: https://docs.tardis.dev/downloadable-csv-files. Its trades are in ``trades``, its other files in ``contracts``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from ingest.imports.formats.changes import Changes
from ingest.imports.formats.form import (
    Context,
    Format,
    Head,
    checked,
    column_names,
    event_us,
    number,
    refusing,
    rejected,
)
from ingest.imports.formats.table import rows_of
from ingest.imports.formats.trade_tables import tardis_kind
from ingest.messages.kinds import OrderBook, time_fields
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.book import Level
from ingest.recordings.files import FileFormError
from ingest.recordings.lines import Output
from ingest.recordings.own import check_numbers

_COMMON = ("exchange", "symbol", "timestamp", "local_timestamp")
_LEVEL = re.compile(r"(asks|bids)\[(\d{1,4})\]\.(price|amount)")
_ROWS_MAX = 1_000_000  # of one message or snapshot, so that no file can fill the memory
_TRUTH = {"true": True, "false": False, "1": True, "0": False}
_QUOTE = {"bids": [("bid_price", "bid_amount")], "asks": [("ask_price", "ask_amount")]}

Told = dict[str, Any]
Pairs = Sequence[tuple[str, str]]


def _is(head: Head, *columns: str) -> bool:
    return {*_COMMON, *columns} <= set(head.columns)


def _rows(path: Path) -> Iterator[tuple[int, Told | Refused, Any]]:
    """Yield number, fields (or why there are none) and the row itself."""
    rows = rows_of(path)
    first = next(rows, [])
    if isinstance(first, Refused):
        raise FileFormError(f"{path.name} is not read: its row of names is damaged: {first.detail}")
    names = column_names(first)
    exchange = None
    for line, row in enumerate(rows, 2):
        if isinstance(row, Refused):
            yield line, row, ""
        elif len(row) != len(names):
            yield line, Refused(Reason.UNDECODABLE, f"{len(row)} fields, and the file has {len(names)} columns"), row
        else:
            told = dict(zip(names, row, strict=True))
            exchange = exchange or told["exchange"]
            if told["exchange"] != exchange:
                yield line, Refused(Reason.OTHER_MARKET, f"a row of {told['exchange']!s:.40}"), row
            else:
                yield line, told, row


def _times(told: Told) -> tuple[int, int]:
    """Return the event time in microseconds and the receive time in milliseconds, rounded up."""
    received_us = event_us("local_timestamp", told["local_timestamp"])
    return event_us("timestamp", told["timestamp"]), -(-received_us // 1000)


def _read_books(path: Path, context: Context) -> Iterator[Output]:
    columns: dict[str, Pairs] = {}
    for line, told, row in _rows(path):
        try:
            if isinstance(told, Refused):
                raise told
            columns = columns or _columns(list(told))
            at_us, received = _times(told)
            timestamp, timestamp_us = time_fields(at_us)
            message = OrderBook(
                timestamp,
                f"{context.prefix}{told['symbol']}",
                _levels(told, columns["bids"]),
                _levels(told, columns["asks"]),
                received=received,
                timestamp_us=timestamp_us,
            )
            check_numbers(message)
            yield checked("book", message, received)
        except Refused as refused:
            yield rejected(path, line, row, refused)


def _columns(names: Sequence[str]) -> dict[str, Pairs]:
    """Return the columns of price and amount of each level, best first."""
    places = sorted((m[1], int(m[2])) for name in names if (m := _LEVEL.fullmatch(name)) and m[3] == "price")
    if not places:
        return {side: list(pairs) for side, pairs in _QUOTE.items()}
    of = {side: [f"{side}[{i}]" for which, i in places if which == side] for side in ("bids", "asks")}
    return {side: [(f"{level}.price", f"{level}.amount") for level in levels] for side, levels in of.items()}


def _levels(told: Told, pairs: Pairs) -> list[Level]:
    """Return the levels of a side, without empty ones behind its end."""
    return [(number(p, told[p]), number(a, told[a])) for p, a in pairs if told[p] not in ("", None)]


def _read_changes(path: Path, context: Context) -> Iterator[Output]:
    books: dict[str, Changes] = {}
    pending: dict[str, tuple[dict[str, dict[float, float]], int, int, int]] = {}

    def end_snapshot(symbol: str) -> Iterator[Output]:
        levels, at_us, received, line = pending.pop(symbol)
        try:
            yield from books[symbol].begin(list(levels["bid"].items()), list(levels["ask"].items()), at_us, received)
        except Refused as refused:
            yield rejected(path, line, "a snapshot", refused)

    def pending_levels(told: Told | Refused) -> list[dict[float, float]]:
        symbol = None if isinstance(told, Refused) else f"{context.prefix}{told['symbol']}"
        return list(pending[symbol][0].values()) if symbol in pending else []

    for key, group in groupby(_rows(path), _message_of):
        rows = list(islice(group, _ROWS_MAX + 1))
        if len(rows) > _ROWS_MAX or sum(map(len, pending_levels(rows[0][1]))) > _ROWS_MAX:
            raise FileFormError(f"{path.name} is not read: a message has more than {_ROWS_MAX} levels")
        line, told, row = rows[-1]
        if isinstance(told, Refused):
            for number_, why, bad in rows:
                assert isinstance(why, Refused)  # noqa: S101 - the key groups refused rows together
                yield rejected(path, number_, bad, why)
            pending.clear()
            for book in books.values():  # nobody knows whose change it was
                yield from book.lose()
            continue
        symbol = f"{context.prefix}{told['symbol']}"
        try:
            if symbol not in books:
                books[symbol] = Changes(symbol, context)
            at_us, received = _times(told)
            is_snapshot = _TRUTH.get(str(key[2]).strip().lower())
            if is_snapshot is None:
                raise Refused(Reason.WRONG_TYPE, f"is_snapshot {key[2]!s:.20}")
            sides = _sides([fields for _, fields, _ in rows if isinstance(fields, dict)])
            if is_snapshot:
                if symbol in pending and any(
                    p in pending[symbol][0][s] for s, found in sides.items() for p, _ in found
                ):
                    yield from end_snapshot(
                        symbol
                    )  # a level told again is of the next snapshot, not of its second part
                levels = pending[symbol][0] if symbol in pending else {"bid": {}, "ask": {}}
                for side, found in sides.items():
                    levels[side].update((p, a) for p, a in found if a)
                pending[symbol] = levels, at_us, received, line
                continue
            if symbol in pending:
                yield from end_snapshot(symbol)
            yield from books[symbol].change(sides["bid"], sides["ask"], at_us, received)
        except Refused as refused:
            yield rejected(path, line, row, refused)
            pending.pop(symbol, None)
            if symbol in books:
                yield from books[symbol].lose()
    for symbol in list(pending):
        yield from end_snapshot(symbol)


def _message_of(row: tuple[int, Told | Refused, Any]) -> tuple[Any, Any, Any]:
    """Return what rows of one message have in common."""
    told = row[1]
    if isinstance(told, Refused):
        return None, None, None
    return told["symbol"], told["local_timestamp"], told["is_snapshot"]


def _sides(rows: Sequence[Told]) -> dict[str, list[Level]]:
    sides: dict[str, list[Level]] = {"bid": [], "ask": []}
    for told in rows:
        side = str(told["side"]).strip().lower()
        if side not in sides:
            raise Refused(Reason.WRONG_TYPE, f"side {side!r:.20} is neither bid nor ask")
        sides[side].append((number("price", told["price"]), number("amount", told["amount"])))
    return sides


_TRADE_COLUMNS = ("id", "side", "price", "amount")
_OPTIONS = ("strike_price", "expiration")
FORMATS = (
    Format(
        "Tardis changes of books (incremental_book_L2)",
        "Changes before the first snapshot are passed over.",
        lambda head: _is(head, "is_snapshot", "side", "price", "amount"),
        _read_changes,
        needs_order=True,
    ),
    Format(
        "Tardis books (book_snapshot_5, book_snapshot_25)",
        "A book is known as far as its levels go.",
        lambda head: _is(head, "asks[0].price", "asks[0].amount", "bids[0].price", "bids[0].amount"),
        _read_books,
    ),
    Format(
        "Tardis quotes",
        "A book has its best level only.",
        lambda head: _is(head, "ask_amount", "ask_price", "bid_price", "bid_amount") and not _is(head, *_OPTIONS),
        _read_books,
    ),
    refusing(
        "Tardis trades or liquidations",
        "trades or liquidations, whose columns are the same: put the word trades or liquidations into the name of the file",
        lambda head: _is(head, *_TRADE_COLUMNS) and not tardis_kind(head),
    ),
    refusing(
        "Tardis options_chain",
        "a chain of options: import trades and books",
        lambda head: _is(head, *_OPTIONS),
    ),
)
