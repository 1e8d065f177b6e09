"""Two markets under one name are told by what their files say, before anything is written.

A spot and a perpetual market of one venue may have the same symbol. Signs of a market in a few lines at the start and at the end of each
file: diffs of futures have ``pu``, trades of futures have ``X`` and those of spot ``M``, only futures have mark prices, and only their
quotes have an event type; and trade ids of one market grow with time, so two files that contradict this are of two markets. A user who
gives one of the files a prefix makes them two symbols.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

import msgspec

from feature_repo.stores.errors import UserError
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.binance_all_symbols import events_of
from ingest.recordings.binance_wire import time_us

SPOT, FUTURES = "spot", "futures"
_OF_FUTURES = ("markPriceUpdate", "bookTicker")
_SAME_TIME_US = 1_000_000  # ids of trades that are closer are not compared
_ID_DIGITS = 19  # a number of fewer digits fits 64 bits
_ABSENT = msgspec.Raw()


class TwoMarketsError(UserError, ValueError):
    """Two files have the same symbol and are of two markets."""


@dataclass(slots=True)
class Signs:
    """What lines of a symbol say of its market: ``kinds`` are `SPOT` or `FUTURES`, or the venues that a table names.

    ``trades`` has, for each form of trades, (time in microseconds, id) of the first and the last one; None where ids do not grow with time.
    """

    kinds: set[str] = field(default_factory=set)
    trades: dict[str, list[tuple[int, int]] | None] = field(default_factory=dict)

    def note_trade(self, form: str, time_us: int, trade_id: int) -> None:
        """Remember the id of a trade; trades come in the file's order."""
        known = self.trades.setdefault(form, [])
        if known is None:
            return
        if known and trade_id <= known[-1][1] and time_us > known[-1][0]:
            self.trades[form] = None
            return
        known[1:] = [(time_us, trade_id)]


class TableSample(msgspec.Struct):
    """The fields of a row of a table that tell its market."""

    symbol: Any = None
    timestamp: Any = None
    timestamp_us: Any = None
    trade_id: Any = None
    venue: Any = None


_table_sample = msgspec.json.Decoder(TableSample).decode


def note_rows(signs: dict[str, Signs], rows: Iterable[bytes], prefix: str) -> None:
    """Add what rows of a table, as JSON, say to ``signs``: their venue, and ids that are whole numbers."""
    for row in rows:
        told = _table_sample(row)
        of_symbol = signs.setdefault(f"{prefix}{told.symbol}", Signs())
        if isinstance(told.venue, str):
            of_symbol.kinds.add(told.venue)
        number = told.trade_id
        if isinstance(number, str) and number.isdecimal() and len(number) < _ID_DIGITS:
            number = int(number)
        time = time_us(told.timestamp) if type(told.timestamp) is int else told.timestamp_us
        if type(number) is int and number and type(time) is int:
            of_symbol.note_trade("row", time, number)


class Sample(msgspec.Struct):
    """The fields of a line of a capture that tell its market."""

    data: msgspec.Raw = _ABSENT
    e: Any = None
    s: Any = None
    pu: Any = None
    time: Any = msgspec.field(name="T", default=None)
    trade: Any = msgspec.field(name="t", default=None)
    aggregate: Any = msgspec.field(name="a", default=None)
    ignored: msgspec.Raw = msgspec.field(name="M", default=_ABSENT)  # only in trades of spot
    type: msgspec.Raw = msgspec.field(name="X", default=_ABSENT)  # only in trades of futures
    normal_size: msgspec.Raw = msgspec.field(name="nq", default=_ABSENT)  # only in aggregates of futures
    prefix: Any = None


_sample = msgspec.json.Decoder(Sample).decode


def kind_of_trade(*, has_ignored: bool, has_type: bool) -> str | None:
    """Return the market of a trade that has a field ``M`` or one of ``X`` and ``nq``; None where it has neither."""
    return FUTURES if has_type else SPOT if has_ignored else None


def same_market(known: str | None, told: str | None) -> str | None:
    """Return the market of a symbol after a message of the market ``told``; refuse the message if the symbol is of another."""
    if told is None or known is None or told == known:
        return told or known
    raise Refused(
        Reason.OTHER_MARKET, f"a message of {told}, and the symbol is of {known}; name its file with --prefix"
    )


def note_lines(signs: dict[str, Signs], lines: Iterable[bytes], prefix: str, *, is_given: bool) -> str:
    """Add what raw lines of a capture say to ``signs``; return the prefix that holds after them."""
    for event in (event for line in lines for event in events_of(line.partition(b" ")[2])):
        try:
            told = _sample(event)
            if told.data:
                told = _sample(told.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if told.e == "recording" and isinstance(told.prefix, str) and not is_given:
            prefix = told.prefix
        if not isinstance(told.s, str):
            continue
        of_symbol = signs.setdefault(prefix + told.s, Signs())
        if told.e == "depthUpdate":
            of_symbol.kinds.add(SPOT if told.pu is None else FUTURES)
        elif told.e in _OF_FUTURES:
            of_symbol.kinds.add(FUTURES)
        elif told.e in ("trade", "aggTrade"):
            kind = kind_of_trade(has_ignored=bool(told.ignored), has_type=bool(told.type or told.normal_size))
            if kind is not None:
                of_symbol.kinds.add(kind)
            number = told.trade if told.e == "trade" else told.aggregate
            if type(number) is int and type(told.time) is int:
                of_symbol.note_trade(told.e, time_us(told.time), number)
    return prefix


class HasSigns(Protocol):
    """A survey of a file, as far as it is needed here."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def is_table(self) -> bool:
        """Whether it is a Parquet or CSV file."""

    @property
    def signs(self) -> Mapping[str, Signs]:
        """What its lines say of the market of each symbol."""


def check_markets(files: Sequence[HasSigns]) -> None:
    """Raise ``TwoMarketsError`` if two files have the same symbol and are of two markets."""
    for file in files:
        for name, signs in file.signs.items():
            if file.is_table and len(signs.kinds) > 1:
                of = " and ".join(sorted(signs.kinds)[:3])
                raise TwoMarketsError(
                    f"{file.path.name} has {name:.64} of {of}: write a file for each, and give each a --prefix"
                )
    by_symbol: dict[str, list[tuple[Path, Signs]]] = {}
    for file in files:
        for name, signs in file.signs.items():
            by_symbol.setdefault(name, []).append((file.path, signs))
    for name, of_symbol in by_symbol.items():
        for (path, signs), (other, others) in combinations(of_symbol, 2):
            why = _difference(signs, others)
            if why:
                of_futures = path if FUTURES in signs.kinds else other
                raise TwoMarketsError(
                    f"{path.name} and {other.name} both have {name:.64} and are two markets ({why}): give one of them a name "
                    f"of its own, such as --prefix {of_futures.name}=BINANCE-FUTURES:"
                )


def _difference(a: Signs, b: Signs) -> str:
    """Return what tells two markets apart; empty if they may be one."""
    if a.kinds and b.kinds and not a.kinds & b.kinds:
        return f"messages of {'/'.join(sorted(a.kinds))} and of {'/'.join(sorted(b.kinds))}"
    for form in a.trades.keys() & b.trades.keys():
        ends = a.trades[form] or [], b.trades[form] or []
        for (time, number), (later, after) in ((x, y) for p, q in (ends, ends[::-1]) for x in p for y in q):
            if time + _SAME_TIME_US < later and number >= after:
                return f"trade ids {number} and, later, {after}"
    return ""
