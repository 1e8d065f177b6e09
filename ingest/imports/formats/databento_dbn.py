"""DBN files of Databento (``.dbn``, ``.dbn.zst``), decoded by its package ``databento-dbn``.

Source: https://databento.com/docs/standards-and-conventions/databento-binary-encoding
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from ingest.imports.formats.databento import (
    LACKS,
    ONLY,
    READ_TYPES,
    SCALE,
    UNDEF_PRICE,
    Messages,
    Record,
    levels_of,
    market_of,
    ns_of,
)
from ingest.imports.formats.form import Context, Format, Head, Market, rejected
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.files import DAMAGE, FileFormError, is_damage, open_bytes
from ingest.recordings.lines import Output

_CHUNK = 1 << 18
_CHUNKS_OF_HEAD = 64  # the metadata of all symbols of a data set are some megabytes
_SCHEMAS = frozenset({"trades", "tbbo", "mbp-1", "mbp-10", "mbo"})
_NS_PER_DAY = 86_400 * SCALE
_EPOCH = date(1970, 1, 1).toordinal()
_INSTALL = "is read by the package databento-dbn: python -m pip install 'trading-feature-store[databento]'"
_MAPPING, _ERROR, _SYSTEM = 22, 21, 23  # records of a live session beside the data


def _market(head: Head) -> Market:
    """Return the market of the first record."""
    try:
        from databento_dbn import DBNDecoder, DBNError
    except ImportError:
        return Market()
    decoder = DBNDecoder()
    try:
        with open_bytes(head.path) as file:
            for _ in range(_CHUNKS_OF_HEAD):
                decoded = decoder.write_and_decode(file.read(_CHUNK))
                publishers = [number for one in decoded if (number := getattr(one, "publisher_id", 0))]
                if publishers:
                    return market_of(publishers[0])
    except (DBNError, ValueError, *DAMAGE):
        pass  # `_read` tells what is wrong
    return Market()


def _read(path: Path, context: Context) -> Iterator[Output]:
    try:
        from databento_dbn import DBNDecoder, DBNError
    except ImportError:
        raise FileFormError(f"{path.name} {_INSTALL}") from None
    decoder, messages, number = DBNDecoder(), None, 0
    with open_bytes(path) as file:
        while True:
            try:
                data = file.read(_CHUNK)
            except DAMAGE as error:
                if not is_damage(error):
                    raise
                yield _damaged(path, number, str(error))
                break
            if not data:
                if left := len(decoder.buffer()):
                    yield _damaged(path, number, f"{left} bytes of a cut record at its end")
                break
            try:
                decoded = decoder.write_and_decode(data)
            except (DBNError, ValueError) as error:
                if messages is None:
                    raise FileFormError(f"{path.name} is not read: {error}") from None
                yield _damaged(path, number, str(error))
                break
            for one in decoded:
                if messages is None:
                    symbols = _Symbols(path, one, context)
                    messages = Messages(path.name, context, symbols.of)
                    continue
                number += 1
                try:
                    record = _record(one, symbols)
                    if record is not None:
                        yield from messages.take(record)
                except Refused as refused:
                    yield rejected(path, number, repr(one)[:400], refused)
    if messages is None:
        raise FileFormError(f"{path.name} is not read: it ends before its metadata does; get it anew")
    yield from messages.finish()


def _damaged(path: Path, number: int, why: str) -> Output:
    return rejected(path, number + 1, "", Refused(Reason.UNDECODABLE, f"the file is damaged here: {why}"))


def _record(one: Any, symbols: _Symbols) -> Record | None:
    """Return a record of data, None for one that tells something else."""
    kind = int(one.rtype)
    if kind == _MAPPING:
        symbols.map(one.instrument_id, one.stype_out_symbol)
        return None
    if kind == _ERROR:
        raise Refused(Reason.WRONG_TYPE, f"an error of the venue's session: {one.err!s:.100}")
    if kind == _SYSTEM:
        return None
    if kind not in READ_TYPES:
        raise Refused(Reason.WRONG_TYPE, f"a record of type {kind}; {ONLY}")
    levels = None
    if kind in (1, 10):
        pairs = one.levels
        levels = (
            levels_of([(_price(level.bid_px), level.bid_sz) for level in pairs]),
            levels_of([(_price(level.ask_px), level.ask_sz) for level in pairs]),
        )
    return Record(
        kind,
        one.instrument_id,
        one.publisher_id,
        str(one.action),
        str(one.side),
        int(one.flags),
        ns_of(one.ts_event),
        ns_of(one.ts_recv),
        _price(one.price),
        one.size,
        getattr(one, "order_id", 0),
        levels,
    )


def _price(value: int) -> float | None:
    return None if value == UNDEF_PRICE else value / SCALE


class _Symbols:
    """The symbols of instruments, each for the days for which the file's metadata map it, or as records of a live session tell."""

    def __init__(self, path: Path, metadata: Any, context: Context) -> None:
        schema = None if metadata.schema is None else str(metadata.schema)
        if schema is not None and schema not in _SCHEMAS:
            raise FileFormError(f"{path.name} is not read: it holds the schema {schema}; {ONLY}")
        if schema == "tbbo":
            context.note(
                "A quote of this file is that before its trade, and nobody knows it afterwards: only the trades are read."
            )
        self._given = context.symbol
        self._only: int | None = None
        self._told: dict[int, str] = {}
        self._days: dict[int, list[tuple[int, int, str]]] = {}
        for symbol, intervals in metadata.mappings.items():
            for interval in intervals:
                self._add(metadata, symbol, interval)
        names = {name for days in self._days.values() for *_, name in days}
        self._is_of_one = len(self._days) == len(names) == 1

    def _add(self, metadata: Any, symbol: str, interval: Any) -> None:
        name, number = symbol, interval["symbol"]
        if str(metadata.stype_in) == "instrument_id":
            name, number = number, name
        if number.isdecimal() and name:
            days = interval["start_date"].toordinal() - _EPOCH, interval["end_date"].toordinal() - _EPOCH
            self._days.setdefault(int(number), []).append((*days, name))

    def map(self, instrument: int, symbol: str) -> None:
        """Note what a record of a live session says."""
        self._told[instrument] = symbol

    def of(self, record: Record) -> str:
        """Return the symbol of a record."""
        if record.instrument in self._told:
            return self._told[record.instrument]
        at_ns = record.event_ns if record.received_ns is None else record.received_ns
        day = -1 if at_ns is None else at_ns // _NS_PER_DAY
        found = {name for begin, end, name in self._days.get(record.instrument, ()) if begin <= day < end}
        if len(found) == 1:
            return self._given if self._given and self._is_of_one else found.pop()
        if self._days or self._told or not self._given:
            what = f"instrument {record.instrument} has {'several symbols' if found else 'no symbol'} on {_iso(day)}"
            told = "" if found or self._days else ": get the file with its symbols, or name it with --symbol"
            raise Refused(Reason.BAD_SYMBOL, what + told)
        if self._only is None:
            self._only = record.instrument
        if record.instrument != self._only:
            raise Refused(
                Reason.OTHER_MARKET,
                f"instrument {record.instrument}, and --symbol names one ({self._only}): write a file for each",
            )
        return self._given


def _iso(day: int) -> str:
    return "an unknown day" if day < 0 else datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


FORMATS = (Format("Databento DBN", LACKS, lambda head: head.first.startswith(b"DBN"), _read, market=_market),)
