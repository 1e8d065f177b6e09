"""CSV (and Parquet) of Databento: the fields of its records as columns, with times and prices as numbers or as text.

A price with a decimal point is a price; one without is in units of 1e-9. A file has the column ``symbol`` if it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from ingest.imports.formats.databento import (
    LACKS,
    ONLY,
    SCALE,
    UNDEF_PRICE,
    UNDEF_TIME,
    Messages,
    Record,
    levels_of,
    market_of,
)
from ingest.imports.formats.form import (
    Context,
    Format,
    Head,
    Market,
    column_names,
    event_us,
    number,
    refusing,
    rejected,
)
from ingest.imports.formats.table import rows_of
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.files import FileFormError
from ingest.recordings.lines import Output

_IDS = frozenset({"rtype", "publisher_id", "instrument_id"})
_INDEX = "ts_recv"
_NEEDED = frozenset({_INDEX, "ts_event", "action", "side", "price", "size", "flags"})
_UNDEFINED = frozenset({"", "nan", "NaN", "None", "UNDEF_PRICE", str(UNDEF_PRICE)})
_UNITS_MIN = 1_000_000  # a thousandth: a smaller whole number may be a price or units of 1e-9
_NS_MIN = 10**17

Told = Mapping[str, Any]


def _is_databento(head: Head) -> bool:
    return set(head.columns) >= _IDS


def _market(head: Head) -> Market:
    """Return the market of the first row."""
    try:
        return market_of(int(head.rows[1][head.columns.index("publisher_id")]))
    except (ValueError, IndexError):
        return Market()


def _read(path: Path, context: Context) -> Iterator[Output]:
    rows = rows_of(path)
    first = next(rows, [])
    if isinstance(first, Refused):
        raise FileFormError(f"{path.name} is not read: its row of names is damaged: {first.detail}")
    names = column_names(first)
    columns = _levels(names)
    symbols: dict[int, str] = {}
    told: dict[str, Any] = {}

    def symbol_of(record: Record) -> str:
        if symbol := str(told.get("symbol") or ""):
            return symbol
        if "symbol" in told or not context.symbol:
            raise Refused(
                Reason.BAD_SYMBOL, "a row without a symbol: get the file with symbols, or name it with --symbol"
            )
        if symbols.setdefault(record.instrument, context.symbol) and len(symbols) > 1:
            del symbols[record.instrument]
            raise Refused(
                Reason.OTHER_MARKET, f"instrument {record.instrument}, and --symbol names one: write a file for each"
            )
        return context.symbol

    messages = Messages(path.name, context, symbol_of)
    context.note("Of a file of the schema tbbo only the trades are read: its quotes are those before each trade.")
    for line, row in enumerate(rows, 2):
        try:
            if isinstance(row, Refused):
                raise row
            if len(row) != len(names):
                raise Refused(Reason.UNDECODABLE, f"{len(row)} fields, and the file has {len(names)} columns")
            told = dict(zip(names, row, strict=True))
            record = _record(told, columns)
        except Refused as refused:
            yield from messages.lose_orders()
            yield rejected(path, line, row if isinstance(row, list) else "", refused)
            continue
        try:
            yield from messages.take(record)
        except Refused as refused:
            yield rejected(path, line, row, refused)
    yield from messages.finish()


def _levels(names: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Return the columns of price and size of each level, best first."""
    places = [f"{i:02}" for i in range(100) if f"bid_px_{i:02}" in names]
    return {side: [(f"{side}_px_{place}", f"{side}_sz_{place}") for place in places] for side in ("bid", "ask")}


def _record(told: Told, columns: Mapping[str, Sequence[tuple[str, str]]]) -> Record:
    kind = _whole(told, "rtype")
    levels = None
    if kind in (1, 10):
        bids, asks = (
            levels_of([(_price(told, px), _whole(told, sz)) for px, sz in columns[side]]) for side in ("bid", "ask")
        )
        levels = bids, asks
    return Record(
        kind,
        _whole(told, "instrument_id"),
        _whole(told, "publisher_id"),
        str(told["action"]),
        str(told["side"]),
        _whole(told, "flags"),
        _ns(told, "ts_event"),
        _ns(told, "ts_recv"),
        _price(told, "price"),
        _whole(told, "size"),
        _whole(told, "order_id") if "order_id" in told else 0,
        levels,
    )


def _whole(told: Told, name: str) -> int:
    value = told.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value).strip().removesuffix(".0")
    if not (text.isascii() and text.removeprefix("-").isdecimal()) or len(text) > 20:
        raise Refused(Reason.WRONG_TYPE, f"{name} {value!s:.40} is no whole number")
    return int(text)


def _ns(told: Told, name: str) -> int | None:
    """Return a time in nanoseconds; of text no more than its microseconds."""
    value = told[name]
    if isinstance(value, str):
        value = value.strip()
        if value.isdecimal() and value.isascii() and len(value) <= 20:
            value = int(value)
    if value in ("", None, UNDEF_TIME):
        return None
    if isinstance(value, int):
        if value < _NS_MIN:
            raise Refused(Reason.OUT_OF_RANGE, f"{name} {value} is no time in nanoseconds")
        return value
    return event_us(name, value) * 1000


def _price(told: Told, name: str) -> float | None:
    value = told.get(name)
    if value is None or (text := str(value).strip()) in _UNDEFINED:
        return None
    if isinstance(value, (float, Decimal)) or "." in text:
        return number(name, value)
    units = _whole(told, name)
    if 0 < abs(units) < _UNITS_MIN:
        raise Refused(Reason.WRONG_TYPE, f"{name} {text:.40} is neither a decimal number nor in units of 1e-9")
    return units / SCALE


FORMATS = (
    Format(
        "Databento CSV",
        LACKS,
        lambda head: _is_databento(head) and set(head.columns) >= _NEEDED,
        _read,
        market=_market,
    ),
    refusing(
        "Databento without ts_recv",
        "records of Databento without the column ts_recv, which is the index of a data frame: write them with it (index=True)",
        lambda head: _is_databento(head) and _NEEDED - set(head.columns) == {_INDEX},
    ),
    refusing(
        "Databento bars and other schemas",
        f"bars, sampled quotes or other records of Databento; {ONLY}",
        lambda head: _is_databento(head) and bool(_NEEDED - set(head.columns) - {_INDEX}),
    ),
)
