"""Files about perpetuals and futures: what venues tell of them, and liquidations.

::

    Tardis derivative_ticker    a row a change of any value, with all that are known: mark, index, funding, open interest
    Tardis liquidations         id, side of the forced order, price, amount; the columns are those of trades
    Binance metrics             create_time, symbol, sum_open_interest, ...: every five minutes
    Binance fundingRate         calc_time, funding_interval_hours, last_funding_rate: the rate as it was settled
    Binance liquidationSnapshot forced orders as the stream ``forceOrder`` tells them; most rows stand there twice
    Binance bookTicker          best bid and ask of futures: books of one level, at the time at which the venue told them
    Binance markPriceKlines,    bars of a minute or more, of which the close is read, at the end of its bar: the bars of an index
      indexPriceKlines          and of a mark price look alike, so a folder or the name of the file must tell them

Source: https://docs.tardis.dev/downloadable-csv-files, https://github.com/binance/binance-public-data
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ingest.imports.formats.binance import COIN_M, OF_COIN_M, USD_M, is_bars
from ingest.imports.formats.form import Context, Format, Head, Market, checked, column_names, event_us, number, rejected
from ingest.imports.formats.table import rows_of
from ingest.imports.formats.trade_tables import TARDIS, tardis_kind
from ingest.imports.formats.trades import symbol_of
from ingest.messages.check import check_derivatives, check_liquidation
from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.messages.kinds import OrderBook, time_fields
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.lines import Output
from ingest.recordings.own import SIDES, check_numbers

_VALUES = {
    "mark": "mark_price",
    "index": "index_price",
    "funding_rate": "funding_rate",
    "open_interest": "open_interest",
}
_UNNAMED_BARS = ("open_time", "open", "high", "low", "close", "volume", "close_time")
_BARS = frozenset(_UNNAMED_BARS) - {"volume"}  # which some files of these bars call "ignore"
_OF_BARS = {"markpriceklines": "mark", "indexpriceklines": "index"}
_BINANCE_NAME = re.compile(r"^([^-\s]+)-(?:fundingRate|metrics|liquidationSnapshot|bookTicker|\d+[smhdwM])(?:-|$)")

Told = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """How a table is read.

    Attributes
    ----------
    message : callable
        Returns the message of a row (its cells by column), or what a row is that gives none; is given the symbol too.
    unnamed : sequence of str
        The columns of a file without a row of names, which is told by a first cell that is a number.
    named : bool
        Whether a column has the symbol; else the name of the file has it.
    repeats : bool
        Whether the venue writes most rows twice, so that a row like the one before it is passed over. In other tables it is a message, and
        the kernel of liquidations refuses it as a repeat.
    """

    message: Callable[[Told, str], Output | str]
    unnamed: Sequence[str] = ()
    named: bool = True
    repeats: bool = False


def _read(table: Table, path: Path, context: Context) -> Iterator[Output]:
    symbol = "" if table.named else context.symbol or symbol_of(_BINANCE_NAME, path)
    names: Sequence[str] = ()
    exchange = last = None
    for line, row in enumerate(rows_of(path), 1):
        try:
            if isinstance(row, Refused):
                raise row
            if table.repeats and row == last:
                context.passed_over["a row like the one before it"] += 1
                continue
            last = row
            if not names:
                names = table.unnamed if table.unnamed and str(row[0]).isdecimal() else column_names(row)
                if names is not table.unnamed:
                    continue
            if len(row) < len(names):
                raise Refused(Reason.UNDECODABLE, f"{len(row)} fields, and the file has {len(names)} columns")
            told = dict(zip(names, row, strict=False))
            exchange = exchange or told.get("exchange")
            if told.get("exchange") != exchange:
                raise Refused(Reason.OTHER_MARKET, f"a row of {told['exchange']!s:.40}")
            output = table.message(told, f"{context.prefix}{symbol or told['symbol']}")
            if isinstance(output, str):
                context.passed_over[output] += 1
            else:
                yield output
        except Refused as refused:
            yield rejected(path, line, row if isinstance(row, list) else "", refused)


def _derivatives(at_us: int, symbol: str, values: Mapping[str, Any], received: int | None = None) -> Output:
    ms, us = time_fields(at_us)
    message = Derivatives(ms, symbol, **values, received=received, timestamp_us=us)
    check_derivatives(message)
    return checked("derivatives", message, received)


def _times(told: Told) -> tuple[int, int]:
    received_us = event_us("local_timestamp", told["local_timestamp"])
    return event_us("timestamp", told["timestamp"]), -(-received_us // 1000)


def _ticker(told: Told, symbol: str) -> Output | str:
    at_us, received = _times(told)
    given = {field: column for field, column in _VALUES.items() if told.get(column) not in ("", None)}
    values: dict[str, Any] = {field: number(column, told[column]) for field, column in given.items()}
    if told.get("funding_timestamp") not in ("", None):
        settled_us = event_us("funding_timestamp", told["funding_timestamp"])
        if settled_us > at_us:
            values["next_funding_time"] = settled_us // 1000
    return _derivatives(at_us, symbol, values, received) if values else "a ticker of the last price alone"


def _liquidation(told: Told, symbol: str) -> Output:
    at_us, received = _times(told)
    return _forced(at_us, symbol, told, number("price", told["price"]), number("amount", told["amount"]), received)


def _snapshot(told: Told, symbol: str) -> Output | str:
    """Return a forced order at the average price and size at which it was filled so far, as its stream is read."""
    price, size = (number(name, told[name]) for name in ("average_price", "accumulated_fill_quantity"))
    if not size:
        return "a forced order that is not filled"
    return _forced(event_us("time", told["time"]), symbol, told, price, size)


def _forced(at_us: int, symbol: str, told: Told, price: float, size: float, received: int | None = None) -> Output:
    ms, us = time_fields(at_us)
    word = str(told["side"]).strip().lower()
    message = Liquidation(ms, symbol, SIDES.get(word) or word, price, size, received, us)
    check_liquidation(message)
    return checked("liquidation", message, received)


def _quote(told: Told, symbol: str) -> Output:
    bid, ask = (
        (number(name, told[name]), number(size, told[size]))
        for name, size in (("best_bid_price", "best_bid_qty"), ("best_ask_price", "best_ask_qty"))
    )
    ms, us = time_fields(event_us("event_time", told["event_time"]))
    message = OrderBook(ms, symbol, [bid], [ask], timestamp_us=us)
    check_numbers(message)
    return checked("book", message)


def _metrics(told: Told, symbol: str) -> Output:
    interest = number("sum_open_interest", told["sum_open_interest"])
    return _derivatives(event_us("create_time", told["create_time"]), symbol, {"open_interest": interest})


def _rate(told: Told, symbol: str) -> Output:
    rate = number("last_funding_rate", told["last_funding_rate"])
    return _derivatives(event_us("calc_time", told["calc_time"]), symbol, {"funding_rate": rate})


def _close(field: str, told: Told, symbol: str) -> Output:
    price = number("close", told["close"])
    return _derivatives(event_us("close_time", told["close_time"]), symbol, {field: price})


def bars_of(head: Head) -> str:
    """Return ``mark`` or ``index`` where a folder or the name of a file of bars says that they are of that; else nothing.

    >>> bars_of(Head(Path("um/daily/markPriceKlines/BTCUSDT/1m/BTCUSDT-1m-2026-01-01.zip"), []))
    'mark'
    """
    words = {word for part in head.path.parts[-8:] for word in re.split("[^a-z]+", part.lower())}
    found = [field for word, field in _OF_BARS.items() if word in words]
    return found[0] if len(found) == 1 else ""


def _is_of_bars(field: str, head: Head) -> bool:
    is_named = set(head.columns) >= _BARS
    return bars_of(head) == field and (is_named or is_bars(head))


def _has(*columns: str) -> Callable[[Head], bool]:
    return lambda head: set(columns) <= set(head.columns)


def _binance(head: Head) -> Market:
    """Return the market: contracts that are paid in coins are told by their names, or by the folder of Binance's files."""
    stem = head.symbol or head.path.name.partition("-")[0]
    return COIN_M if OF_COIN_M.search(stem) or "cm" in head.path.parts[-8:-1] else USD_M


_is_tardis = _has("exchange", "symbol", "timestamp", "local_timestamp")
_NOT_RECEIVED = "The file does not say when a value was received."
FORMATS = (
    Format(
        "Tardis derivative_ticker",
        "A row tells again what did not change, so a value counts as told by its newest row.",
        lambda head: _is_tardis(head) and _has("funding_rate", "mark_price")(head),
        partial(_read, Table(_ticker)),
    ),
    Format(
        "Tardis liquidations",
        "A day without a file is not told from a day without liquidations: import all days.",
        lambda head: _has(*TARDIS.values())(head) and tardis_kind(head) == "liquidation",
        partial(_read, Table(_liquidation)),
    ),
    Format(
        "Binance metrics",
        f"Open interest comes every 5 minutes, and counts for one. {_NOT_RECEIVED}",
        _has("create_time", "symbol", "sum_open_interest"),
        partial(_read, Table(_metrics)),
        market=_binance,
    ),
    Format(
        "Binance fundingRate",
        f"A rate is that of the settlement at its time. {_NOT_RECEIVED}",
        _has("calc_time", "funding_interval_hours", "last_funding_rate"),
        partial(_read, Table(_rate, named=False)),
        market=_binance,
    ),
    Format(
        "Binance liquidationSnapshot",
        f"The stream that it is of tells at most one forced order a second and symbol. {_NOT_RECEIVED}",
        _has("time", "side", "average_price", "accumulated_fill_quantity"),
        partial(_read, Table(_snapshot, named=False, repeats=True)),
        market=_binance,
    ),
    Format(
        "Binance bookTicker",
        f"A book has its best level only. {_NOT_RECEIVED}",
        _has("best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty", "event_time"),
        partial(_read, Table(_quote, named=False)),
        market=_binance,
    ),
    *(
        Format(
            f"Binance {field}PriceKlines",
            f"A price comes at the end of each bar, and counts for a minute. {_NOT_RECEIVED}",
            partial(_is_of_bars, field),
            partial(_read, Table(partial(_close, field), _UNNAMED_BARS, named=False)),
            market=_binance,
        )
        for field in _OF_BARS.values()
    ),
)
