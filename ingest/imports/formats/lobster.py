"""LOBSTER: pairs of files of a symbol and day of Nasdaq, without names of columns.

::

    AAPL_2012-06-21_34200000_57600000_message_10.csv     time, type, order id, size, price, direction
    AAPL_2012-06-21_34200000_57600000_orderbook_10.csv   ask price, ask size, bid price, bid size, of each level

A row of the second file is the book after the event of the same row of the first one. Times are seconds after midnight in New York, prices
are dollars times 10,000. The trades are read from the first file, the books from both.

The direction is that of the resting order, so the aggressor is the other one. Nasdaq tells it of hidden orders until 13 July 2014; since
then its feed (TotalView-ITCH, message P) calls each of them a buy order.

Source: https://lobsterdata.com/info/DataStructure.php
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ingest.imports.formats.books import Books
from ingest.imports.formats.form import Context, Format, Head, Market, checked, refusing, rejected
from ingest.imports.formats.table import Row, rows_of
from ingest.messages.check import check_trade
from ingest.messages.kinds import Trade, time_fields
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.book import Level
from ingest.recordings.files import DAMAGE, FileFormError, is_damage, open_text
from ingest.recordings.lines import Output

NASDAQ = Market("nasdaq")
_NAME = re.compile(r"([^_]+)_(\d{4}-\d\d-\d\d)_\d+_\d+_(message|orderbook)_(\d{1,4})\.csv")
_TIME = re.compile(r"(\d{1,5})(?:\.(\d+))?", re.ASCII)
_NEW_YORK = ZoneInfo("America/New_York")
_SCALE = 10_000
_DUMMY = 9_999_999_999  # the price of an ask level that does not exist; of a bid with a minus
_CELLS = (6, 7)  # newer files may name the participant in a seventh
_VISIBLE, _HIDDEN, _CROSS, _HALT = 4, 5, 6, 7
_TYPES = frozenset(range(1, 8))
_AGGRESSOR = {"1": "sell", "-1": "buy"}
_HIDDEN_SIDE_UNTIL = date(2014, 7, 14)
_SECONDS = 86_400
_NAMED = "name both files as LOBSTER does, such as AAPL_2012-06-21_34200000_57600000_message_10.csv"


def _is_message(row: Sequence[Any]) -> bool:
    if len(row) not in _CELLS or not _TIME.fullmatch(str(row[0])):
        return False
    try:
        kind, _, size, price = (int(cell) for cell in row[1:5])
    except ValueError:
        return False
    return kind in _TYPES and str(row[5]) in _AGGRESSOR and size >= 0 and price >= -1


def _is_named(head: Head, kind: str) -> bool:
    name = _NAME.match(head.path.name)
    if name is None or name[3] != kind or not head.rows:
        return False
    return _is_message(head.rows[0]) if kind == "message" else len(head.rows[0]) == 4 * int(name[4])


def _is_unnamed(head: Head) -> bool:
    if _NAME.match(head.path.name) or not head.rows:
        return False
    return all(map(_is_message, head.rows)) and any("." in str(row[0]) for row in head.rows)


def _day(path: Path) -> tuple[str, date, int]:
    """Return the symbol and the day of a file, and midnight in microseconds."""
    name = _NAME.match(path.name)
    try:
        day = date.fromisoformat(name[2]) if name else None
    except ValueError:
        day = None
    if name is None or day is None:
        raise FileFormError(f"{path.name} is not read: its name does not tell the symbol and the day; {_NAMED}")
    return name[1], day, int(datetime.combine(day, time(), _NEW_YORK).timestamp()) * 1_000_000


def _event(row: Row, midnight_us: int) -> tuple[int, int, list[Any]]:
    """Return the time in microseconds and the type of an event, and its cells."""
    if isinstance(row, Refused):
        raise row
    if not _is_message(row):
        raise Refused(Reason.WRONG_TYPE, f"{','.join(row):.100} is no event: time,type,order id,size,price,direction")
    told = _TIME.fullmatch(row[0])
    assert told is not None  # noqa: S101 - as _is_message saw
    if int(told[1]) >= _SECONDS:
        raise Refused(Reason.OUT_OF_RANGE, f"time {row[0]:.40} is no second of a day")
    return midnight_us + int(told[1]) * 1_000_000 + int(((told[2] or "") + "000000")[:6]), int(row[1]), row


def _read_trades(path: Path, context: Context) -> Iterator[Output]:
    name, day, midnight_us = _day(path)
    symbol, count = f"{context.prefix}{context.symbol or name}", context.passed_over
    for line, row in enumerate(rows_of(path), 1):
        try:
            at_us, kind, cells = _event(row, midnight_us)
            if kind == _HALT:
                context.note("Trading was halted in this time, and the books stand still meanwhile.")
                count["notice of a trading halt"] += 1
                continue
            if kind < _VISIBLE:
                count["event of an order, which is in the books"] += 1
                continue
            side: str | None = _AGGRESSOR[cells[5]]
            if kind == _CROSS:
                side = None
                context.note("Trades of auctions have no side.")
            elif kind == _HIDDEN and day >= _HIDDEN_SIDE_UNTIL:
                side = None
                context.note(
                    "Trades with hidden orders have no side: Nasdaq's feed does not tell it since 14 July 2014."
                )
            timestamp, timestamp_us = time_fields(at_us)
            message = Trade(
                timestamp, symbol, int(cells[4]) / _SCALE, float(int(cells[3])), side, timestamp_us=timestamp_us
            )
            check_trade(message)
            yield checked("trade", message)
        except Refused as refused:
            yield rejected(path, line, row if isinstance(row, list) else "", refused)


def _messages_of(path: Path) -> tuple[Path]:
    """Return the file of messages of a file of books."""
    messages = path.with_name(path.name.replace("_orderbook_", "_message_"))
    if not messages.exists():
        raise FileFormError(f"{path.name} is not read: its times are in {messages.name}, which must lie beside it")
    return (messages,)


def _read_books(path: Path, context: Context) -> Iterator[Output]:
    name, _, midnight_us = _day(path)
    (messages,) = _messages_of(path)
    sizes = [_rows(one) for one in (path, messages)]
    if sizes[0] != sizes[1]:
        raise FileFormError(
            f"{path.name} is not read: it has {sizes[0]:,} rows and {messages.name} {sizes[1]:,}, so one of them is cut; get both anew"
        )
    books = Books(f"{context.prefix}{context.symbol or name}", context)
    before: Any = None
    for line, (event, row) in enumerate(zip(rows_of(messages), rows_of(path), strict=False), 1):
        try:
            at_us, _, _ = _event(event, midnight_us)
            if isinstance(row, Refused):
                raise row
            if row == before:
                context.passed_over["row whose book is that of the row before"] += 1
                continue
            before = row
            try:
                bids, asks = _levels(row)
            except Refused:
                yield from books.lose(at_us, None)
                raise
            yield from books.give(bids, asks, at_us, None)
        except Refused as refused:
            before = None
            yield rejected(path, line, row if isinstance(row, list) else "", refused)


def _levels(row: list[str]) -> tuple[list[Level], list[Level]]:
    """Return bids and asks of a row, without the levels that do not exist."""
    try:
        cells = list(map(int, row))
    except ValueError:
        raise Refused(Reason.WRONG_TYPE, f"levels {','.join(row):.80} are no whole numbers") from None
    if not cells or len(cells) % 4:
        raise Refused(Reason.UNDECODABLE, f"{len(cells)} cells, and a level has four")
    asks, bids = (
        [
            (price / _SCALE, float(size))
            for price, size in zip(cells[i::4], cells[i + 1 :: 4], strict=True)
            if abs(price) != _DUMMY
        ]
        for i in (0, 2)
    )
    return bids, asks


def _rows(path: Path) -> int:
    """Return the number of rows of a file; raise ``FileFormError`` if it is damaged, because rows of two files stand for each other."""
    try:
        with open_text(path) as file:
            return sum(1 for line in file if not line.isspace())
    except DAMAGE as error:
        if not is_damage(error):
            raise
        raise FileFormError(f"{path.name} is not read: it is damaged ({error}); get it anew") from None


FORMATS = (
    Format(
        "LOBSTER trades (message)",
        "Trades have no ids and no time of receipt; the books are in the file _orderbook_ of the same day: import it as well.",
        lambda head: _is_named(head, "message"),
        _read_trades,
        market=lambda head: NASDAQ,
        name_has_day=True,
    ),
    Format(
        "LOBSTER books (orderbook)",
        "A book is known as far as its levels go, and has no time of receipt; the trades are in the file _message_ of the same day: "
        "import it as well.",
        lambda head: _is_named(head, "orderbook"),
        _read_books,
        market=lambda head: NASDAQ,
        name_has_day=True,
        beside=_messages_of,
    ),
    refusing(
        "LOBSTER without its name",
        f"events as those of LOBSTER, and its name does not tell the symbol and the day: {_NAMED}",
        _is_unnamed,
    ),
)
