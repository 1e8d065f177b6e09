"""Tables of trades: how the rows of one become messages. ``trade_tables`` has the tables of each venue and vendor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.imports.formats.form import Context, checked, column_names, event_us, number, rejected
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
