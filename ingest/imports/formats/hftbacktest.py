"""Arrays of events of hftbacktest (``.npz``, ``.npy``), as it makes them of trades and changes of books.

An event has flags in ``ev``: its kind in the low byte, ``1 << 28`` sell (or ask), ``1 << 29`` buy (or bid), ``1 << 30`` seen by the local
side at ``local_ts``, ``1 << 31`` by the exchange at ``exch_ts``. An event that came out of order is there twice, once for each, so those
of the local side are read. Rows of one time are one message. A file does not name its symbol.

Source: https://hftbacktest.readthedocs.io/en/latest/data.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ingest.imports.formats.changes import Changes
from ingest.imports.formats.form import Context, Format, checked, rejected
from ingest.messages.check import check_trade
from ingest.messages.kinds import Trade, time_fields
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.book import Level
from ingest.recordings.files import DAMAGE, FileFormError, is_damage, open_bytes
from ingest.recordings.lines import Output

SELL, BUY, LOCAL = 1 << 28, 1 << 29, 1 << 30
DEPTH, TRADE, CLEAR, SNAPSHOT, BEST = 1, 2, 3, 4, 5
_ORDERS = range(10, 14)
_OF_BOOK = frozenset({DEPTH, CLEAR, SNAPSHOT})
_SIDE = {BUY: "buy", SELL: "sell", 0: None}
_FIELDS = ("ev", "exch_ts", "local_ts", "px", "qty")
_ROWS = 16_384  # read at once
_LEVELS_MAX = 1_000_000  # of one message, so that no file can fill the memory
_UNITS = (
    (10**17, 1),
    (10**14, 1000),
    (10**12, 10**6),
)  # the least number of a present time in ns, us and ms, and its nanoseconds
_OTHER = "another event, such as a best quote or a mark price"


class Event(NamedTuple):
    """One row; times are whole numbers in the unit of the file."""

    ev: int
    exch_ts: int
    local_ts: int
    px: float
    qty: float


class Pending(NamedTuple):
    """Rows of a book of one time; ``bids`` and ``asks`` grow."""

    key: tuple[int, int, bool]
    bids: list[Level]
    asks: list[Level]
    line: int


def _read(path: Path, context: Context) -> Iterator[Output]:
    if not context.symbol:
        raise FileFormError(f"{path.name} is not read: it does not name its symbol; name it, such as --symbol BTCUSDT")
    symbol = f"{context.prefix}{context.symbol}"
    books = Changes(symbol, context)
    pending: Pending | None = None

    def give() -> Iterator[Output]:
        if pending is None:
            return
        try:
            at_us, received = _times(*pending.key[:2])
            if not pending.key[2]:
                yield from books.change(pending.bids, pending.asks, at_us, received)
            elif pending.bids or pending.asks:
                yield from books.begin(pending.bids, pending.asks, at_us, received)
            else:
                yield from books.lose()
        except Refused as refused:
            yield rejected(path, pending.line, "a message of a book", refused)

    for line, event in enumerate(_events(path), 1):
        if isinstance(event, Refused):
            yield from give()
            pending = None
            yield rejected(path, line, "", event)
            continue
        if not event.ev & LOCAL:
            context.passed_over["event of the exchange's side, or of none"] += 1
            continue
        kind = event.ev & 0xFF
        key = event.exch_ts, event.local_ts, kind != DEPTH
        if pending is not None and (pending.key[:2] != key[:2] or (kind in _OF_BOOK and pending.key != key)):
            yield from give()
            pending = None
        try:
            if kind == TRADE:
                yield _trade(event, symbol)
            elif kind in _OF_BOOK:
                pending = pending or Pending(key, [], [], line)
                _add(event, kind, pending, path)
            elif kind in _ORDERS:
                yield from books.lose()
                raise Refused(Reason.WRONG_TYPE, "an event of a single order: import the DBN file of which it was made")
            else:
                context.passed_over[_OTHER] += 1
        except Refused as refused:
            if kind in _OF_BOOK:
                pending = None
                yield from books.lose()
            yield rejected(path, line, str(tuple(event)), refused)
    yield from give()


def _trade(event: Event, symbol: str) -> Output:
    at_us, received = _times(event.exch_ts, event.local_ts)
    side = event.ev & (BUY | SELL)
    if side not in _SIDE:
        raise Refused(Reason.WRONG_TYPE, "a trade that is both bought and sold")
    timestamp, timestamp_us = time_fields(at_us)
    message = Trade(timestamp, symbol, event.px, event.qty, _SIDE[side], received=received, timestamp_us=timestamp_us)
    check_trade(message)
    return checked("trade", message, received)


def _add(event: Event, kind: int, pending: Pending, path: Path) -> None:
    if kind == CLEAR:
        return  # the snapshot behind it is the whole book; without one the book is unknown
    side = event.ev & (BUY | SELL)
    if side not in (BUY, SELL):
        raise Refused(Reason.WRONG_TYPE, "a level that is not of one side")
    if len(pending.bids) + len(pending.asks) >= _LEVELS_MAX:
        raise FileFormError(f"{path.name} is not read: a message has more than {_LEVELS_MAX} levels")
    if kind == SNAPSHOT and not event.qty:
        return
    (pending.bids if side == BUY else pending.asks).append((event.px, event.qty))


def _times(exch_ts: int, local_ts: int) -> tuple[int, int]:
    """Return the event time in microseconds and the receive time in milliseconds, rounded up."""
    for least, unit in _UNITS:
        if exch_ts >= least:
            if local_ts < least:
                break
            return exch_ts * unit // 1000, -(-local_ts * unit // 1_000_000)
    raise Refused(Reason.OUT_OF_RANGE, f"times {exch_ts} and {local_ts} are no times since 1970")


def _events(path: Path) -> Iterator[Event | Refused]:
    """Yield the rows; a damaged file gives those before the damage, then a ``Refused``."""
    with open_bytes(path) as file:
        left, dtype = _header(path, file)
        while left:
            n = min(left, _ROWS)
            try:
                data = file.read(n * dtype.itemsize)
            except DAMAGE as error:
                if not is_damage(error):
                    raise
                yield Refused(Reason.UNDECODABLE, f"the file is damaged here: {error}")
                return
            rows = np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype)
            yield from map(Event._make, zip(*(rows[name].tolist() for name in _FIELDS), strict=True))
            if len(rows) < n:
                yield Refused(Reason.UNDECODABLE, f"the file is cut: {left - len(rows)} rows are missing")
                return
            left -= n


def _header(path: Path, file: BinaryIO) -> tuple[int, np.dtype[Any]]:
    """Return the number of rows and their type; raise ``FileFormError`` for another array."""
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, _, dtype = read_header[np.lib.format.read_magic(file)](file)
    except (ValueError, KeyError, *DAMAGE) as error:
        raise FileFormError(f"{path.name} is not read: it is no whole NumPy file ({error!s:.80})") from None
    names = dtype.names or ()
    if not names and len(shape) == 2 and shape[1] == 6:
        raise FileFormError(
            f"{path.name} is not read: it has six columns as events of hftbacktest 1 do; convert it with hftbacktest's migration2"
        )
    fits = set(_FIELDS) <= set(names) and all(
        dtype[name].kind in kinds for name, kinds in zip(_FIELDS, ("u", "i", "i", "f", "f"), strict=True)
    )
    if not fits or len(shape) != 1 or dtype.hasobject:
        raise FileFormError(
            f"{path.name} is not read: its array has not the fields {', '.join(_FIELDS)} of hftbacktest; write it as Parquet, "
            "with a name for each column"
        )
    return shape[0], dtype


FORMATS = (
    Format(
        "hftbacktest events",
        "The file has no symbol and no ids of trades; changes before the first snapshot are passed over.",
        lambda head: head.first.startswith(b"\x93NUMPY"),
        _read,
        needs_order=True,
    ),
)
