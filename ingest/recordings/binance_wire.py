"""The messages of Binance, with the venue's names of their fields.

Times are milliseconds, or microseconds where the stream was asked for these (``timeUnit=MICROSECOND``); ``time_us`` tells.

Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams, and the same of USD-M futures.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from ingest.messages.decode import decode
from ingest.messages.kinds import MAX_INTEGER, MAX_TIME_MS
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.book import Level
from transforms.limits import MAX_NUMBER

_ABSENT = msgspec.Raw()
# what Python's JSON writes for numbers that JSON does not have
_NOT_FINITE = re.compile(rb"[\[:,]\s*-?(?:NaN|Infinity)\s*[\],}]")

# what lines that give no message are called in the counts, by the begin of their stream or event type
_OTHER_LINES = {
    "bookTicker": "quote",
    "depth5": "partial book",
    "depth10": "partial book",
    "depth20": "partial book",
    "kline": "bar",
    "24hrTicker": "ticker",
    "ticker": "ticker",
}


def time_us(time: int) -> int:
    """Return a time of the venue in microseconds; one of our age has 13 digits in milliseconds and 16 in microseconds.

    >>> time_us(1_700_000_000_123), time_us(1_700_000_000_123_456)
    (1700000000123000, 1700000000123456)
    """
    return time if time > MAX_TIME_MS else time * 1000


class Timed(msgspec.Struct):
    """A message with a time ``time``, in milliseconds or in microseconds."""

    time: int

    @property
    def time_us(self) -> int:
        """The time in microseconds."""
        return time_us(self.time)

    @property
    def after_us(self) -> int:
        """The next time that the venue can write, in microseconds."""
        return time_us(self.time + 1)


class Envelope(msgspec.Struct):
    """A line of a combined stream (stream and data), of a single one (e), or a REST answer (lastUpdateId, openInterest)."""

    stream: str | None = None
    data: msgspec.Raw = _ABSENT
    e: str | None = None
    last_update_id: int | None = msgspec.field(name="lastUpdateId", default=None)
    open_interest: msgspec.Raw = msgspec.field(name="openInterest", default=_ABSENT)
    ask_size: msgspec.Raw = msgspec.field(name="A", default=_ABSENT)
    id: msgspec.Raw = _ABSENT


class Snapshot(msgspec.Struct):
    """REST ``/depth``."""

    last: int = msgspec.field(name="lastUpdateId")
    bids: list[Level]
    asks: list[Level]
    symbol: str | None = None  # only our own feed adds it

    def is_of(self, symbol: str) -> bool:
        """Return whether it may be a snapshot of ``symbol``: it names that symbol or none."""
        return self.symbol is None or self.symbol == symbol


NOTES = {
    "recording": "header",
    "feed": "start of a feed",
    "connections": "connections",
    "disconnect": "disconnect",
    "silence": "silence",
    "recovered": "answer with trades",
    "unrecovered": "trades that did not come",
    "stopped": "end of a feed",
}
"""The event types of the notes of our own feed, and what the counts call them."""


class Header(msgspec.Struct):
    """Our own recorder's note of the venue at the start of a recording. ``prefix`` is what the live feed puts before its symbols."""

    prefix: str


class Alive(msgspec.Struct):
    """Our own recorder's note that the venue has answered a ping of the connection with these channels, of all where it names none."""

    at: int  # when the ping was sent, milliseconds
    channels: list[str] = []


class Connections(msgspec.Struct):
    """Our own recorder's note that ``n`` connections speak of these symbols now; of all channels, unless it names some.

    A disconnect, where none does, is told again as long as it lasts.
    """

    symbols: list[str] = msgspec.field(name="s")
    n: int = 0
    channels: list[str] | None = None

    def carry(self, channel: str) -> bool:
        """Return whether the connections carry a channel, ``book`` or ``trade``."""
        return self.channels is None or channel in self.channels


class Silence(msgspec.Struct):
    """Our own recorder's note that a channel of these symbols is silent while others of them speak; told again as long as it lasts."""

    symbols: list[str] = msgspec.field(name="s")
    channel: str


class Symbols(msgspec.Struct):
    """Our own feed's note about symbols.

    ``unrecovered``: the feed does not ask for their missing trades any more. ``stopped``: the feed ends.
    """

    symbols: list[str] = msgspec.field(name="s")


class LastTrade(msgspec.Struct):
    """The last trade of a symbol that a feed wrote, the newest time that it wrote, and when it did; ``id`` is None before the first."""

    id: int | None
    time_us: int
    price: float
    size: float
    given_us: int
    written_ms: int


class Start(Symbols):
    """Our own feed's note that it starts: how it recovers trades (``whole_trades.Rule``), and what it had written before."""

    hold_ms: int
    lateness_ms: int
    last: dict[str, LastTrade]


class OldTrade(Timed):
    """A trade of REST ``/historicalTrades``, or of ``/aggTrades`` with its names."""

    id: int
    price: float
    size: float
    maker_bought: bool


class HistoricalTrade(OldTrade):
    """REST ``/historicalTrades``."""

    size: float = msgspec.field(name="qty")
    maker_bought: bool = msgspec.field(name="isBuyerMaker")


class OldAggTrade(OldTrade):
    """REST ``/aggTrades``."""

    time: int = msgspec.field(name="T")
    id: int = msgspec.field(name="a")
    price: float = msgspec.field(name="p")
    size: float = msgspec.field(name="q")
    maker_bought: bool = msgspec.field(name="m")


class Answer(msgspec.Struct):
    """A REST answer with trades from the id ``first`` on, as our own feed queues it.

    ``form`` is ``trade`` or ``aggTrade``. ``is_end`` says that it was asked for late enough to show that no later trade was missed.
    """

    symbol: str = msgspec.field(name="s")
    form: str
    first: int
    is_end: bool
    trades: msgspec.Raw


class Diff(Timed):
    """``<symbol>@depth``. E is the event time; U and u are the first and last update in it; pu (futures only) is the u before it."""

    time: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    first: int = msgspec.field(name="U")
    last: int = msgspec.field(name="u")
    bids: list[Level] = msgspec.field(name="b")
    asks: list[Level] = msgspec.field(name="a")
    before: int | None = msgspec.field(name="pu", default=None)

    def follows(self, last: int) -> bool:
        """Return whether it is the next diff of a book at update ``last``."""
        return self.first == last + 1 if self.before is None else self.before == last

    def spans(self, last: int) -> bool:
        """Return whether it is the first diff to apply to a snapshot of update ``last``."""
        return self.last > last and (self.first <= last + 1 or (self.before is not None and self.before <= last))


class Trade(Timed):
    """``<symbol>@trade``. T is the trade time; m means that the buyer was the maker, so the seller was the aggressor."""

    symbol: str = msgspec.field(name="s")
    time: int = msgspec.field(name="T")
    price: float = msgspec.field(name="p")
    size: float = msgspec.field(name="q")
    maker_bought: bool = msgspec.field(name="m")
    id: int = msgspec.field(name="t")
    type: str | None = msgspec.field(name="X", default=None)  # of futures
    ignored: msgspec.Raw = msgspec.field(name="M", default=_ABSENT)  # only spot has it


class AggTrade(Trade):
    """``<symbol>@aggTrade``: the trades of one order at one price. Its ids are not those of ``@trade``; f and l are, first and last."""

    id: int = msgspec.field(name="a")
    first: int | None = msgspec.field(name="f", default=None)
    last: int | None = msgspec.field(name="l", default=None)
    normal_size: msgspec.Raw = msgspec.field(name="nq", default=_ABSENT)  # only futures have it


def open_envelope(payload: bytes) -> Envelope:
    """Return what a line says of its kind. Raise ``Refused`` if it cannot be decoded, as ``not_finite`` for a bare NaN or Infinity."""
    try:
        if not payload.isascii():
            payload.decode()
        return decode(Envelope, payload)
    except UnicodeDecodeError as error:
        raise Refused(Reason.UNDECODABLE, str(error)) from None
    except Refused:
        if _NOT_FINITE.search(payload):
            raise Refused(Reason.NOT_FINITE, "a bare NaN or Infinity") from None
        raise


@lru_cache(64)
def name_of_other(name: str | None) -> str:
    """Return what a line of another stream or event type is; a quote of spot has none.

    >>> name_of_other("kline_1m"), name_of_other("depth20@100ms"), name_of_other(None), name_of_other("x")
    ('bar', 'partial book', 'quote', 'other')
    """
    return "quote" if not name else _OTHER_LINES.get(name.partition("@")[0].partition("_")[0], "other")


def check_ids(*ids: int) -> None:
    """Refuse ids that are negative or do not fit 64 bits."""
    for number in ids:
        if not 0 <= number < MAX_INTEGER:
            raise Refused(Reason.OUT_OF_RANGE, f"id {number!s:.40}")


def check_levels(levels: Sequence[Level], *, snapshot: bool = False) -> None:
    """Refuse a price that is not positive, a size that is negative (in a snapshot: not positive), or a number above `MAX_NUMBER`."""
    for price, size in levels:
        if 0.0 < price <= MAX_NUMBER and (0.0 < size <= MAX_NUMBER or (size == 0.0 and not snapshot)):
            continue
        detail = f"price {price}, size {size}"
        if not (math.isfinite(price) and math.isfinite(size)):
            raise Refused(Reason.NOT_FINITE, detail)
        raise Refused(Reason.NOT_POSITIVE if price <= 0.0 or size <= 0.0 else Reason.OUT_OF_RANGE, detail)
