"""The messages, and how bytes become them.

A message travels in one field ``data`` as JSON or MessagePack (told apart by its first byte), or flat: a field for each name, with
``bids`` and ``asks`` as JSON. Times are whole milliseconds since the epoch, UTC. Numbers may be written as decimal strings.
What cannot be taken raises ``Refused`` with its reason before anything changes.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from ingest.refusal import Reason, Refused
from transforms.microstructure.layout import G_SIZE

LEVELS = 20
"""Price levels of a side that are used; deeper ones are ignored."""
MAX_TIME_MS = 9_007_199_254_740
"""The largest time whose microseconds a double holds exactly, in the year 2255."""
MAX_NUMBER = 1e15
MAX_AHEAD_MS = 31 * 86_400_000
"""How long before it is used a microprice table may be published."""


class OrderBook(msgspec.Struct, gc=False):
    """Stream ``order_book``: the best levels of both sides, best first; each message stands for itself.

    ``sequence`` grows by one from message to message of a symbol; leave it out where a venue's numbers jump.
    """

    timestamp: int
    symbol: str
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    sequence: int | None = None
    received: int | None = None


class Trade(msgspec.Struct, gc=False):
    """Stream ``market_data``: one trade; ``side`` is the aggressor's, None where the venue gives none.

    ``next_funding`` is when the venue settles funding next, where it says so.
    """

    timestamp: int
    symbol: str
    price: float
    size: float
    side: str | None = None
    trade_id: int | str | None = None
    received: int | None = None
    next_funding: int | None = None


class SocialPost(msgspec.Struct, gc=False):
    """Stream ``social_data``: one post as written; ``observed_at`` is when its engagement was read."""

    timestamp: int
    id: str
    text: str
    source: str
    author: str | None = None
    likes: int | None = None
    reposts: int | None = None
    replies: int | None = None
    followers: int | None = None
    observed_at: int | None = None
    symbols: list[str] | None = None
    received: int | None = None


class ScoredPost(msgspec.Struct, gc=False):
    """A post as it enters the log of one symbol: a score is made once and is a fact of the log.

    ``available`` is when the score could be read. The probabilities are None where the text held nothing to score.
    """

    timestamp: int
    symbol: str
    id: str
    available: int
    simhash: int
    positive: float | None = None
    negative: float | None = None
    neutral: float | None = None
    model: str | None = None
    author: str | None = None
    likes: int | None = None
    reposts: int | None = None
    replies: int | None = None
    followers: int | None = None
    received: int | None = None


class Tick(msgspec.Struct, gc=False):
    """Time itself, in the log: all that this symbol's feeds had to say up to ``timestamp`` has been said."""

    timestamp: int
    symbol: str


class Gap(msgspec.Struct, gc=False):
    """A feed lost its place at ``timestamp``: the book is unknown until the next one."""

    timestamp: int
    symbol: str
    received: int | None = None


class MicropriceTable(msgspec.Struct, gc=False):
    """A fitted table of ``microprice`` as it enters the log of its symbol: used for rows from ``usable_from`` on.

    ``timestamp`` is when it was published; the data that it was fitted on end before ``fitted_before``. ``g`` is what the mid is expected
    to move, in ticks, by imbalance bin and spread bin; None where the data could not tell.
    """

    timestamp: int
    symbol: str
    version: int
    fitted_before: int
    usable_from: int
    tick: float
    g: list[float | None]


Message = OrderBook | Trade | ScoredPost | Tick | Gap | MicropriceTable
T = TypeVar("T", bound=msgspec.Struct)

KIND: dict[str, type[Message]] = {
    "book": OrderBook,
    "trade": Trade,
    "post": ScoredPost,
    "tick": Tick,
    "gap": Gap,
    "microprice": MicropriceTable,
}
"""What an entry of a partition log may be, by its field ``kind``."""
PLAIN_STREAM: dict[str, str] = {"order_book": "book", "market_data": "trade"}
"""The plain streams that the router serves, and the kind of their messages."""

_json = functools.cache(lambda kind: msgspec.json.Decoder(kind, strict=False))
_msgpack = functools.cache(lambda kind: msgspec.msgpack.Decoder(kind, strict=False))
_JSON_FIELDS = frozenset({b"bids", b"asks", b"symbols"})
MAPS = frozenset(bytes([b]) for b in (*range(0x80, 0x90), 0xDE, 0xDF))
"""First bytes of a MessagePack map; everything else is taken as JSON."""
_SYMBOL = re.compile(r"[A-Za-z0-9:._/\-]{1,64}\Z").match
_MISSING = "missing required field"

encode = msgspec.msgpack.Encoder().encode
"""A message as bytes, as this project's own programs send it."""


def decode(kind: type[T], data: bytes) -> T:
    """The message in ``data``.

    Raises
    ------
    Refused
        ``undecodable``, ``missing_field``, ``wrong_type``, ``not_finite`` or ``out_of_range``.
    """
    try:
        if data[:1] in MAPS:
            return _msgpack(kind).decode(data)  # type: ignore[no-any-return]
        return _json(kind).decode(data)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        raise _refusal(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_loosely(kind, data)


def decode_entry(kind: type[T], fields: Mapping[bytes, bytes]) -> T:
    """The message of a stream entry, in ``data`` or flat.

    Raises
    ------
    Refused
        As ``decode``.
    """
    data = fields.get(b"data")
    if data is not None:
        return decode(kind, data)
    try:
        flat = {k.decode(): json.loads(v) if k in _JSON_FIELDS else v.decode() for k, v in fields.items()}
        return msgspec.convert({k: v for k, v in flat.items() if v != ""}, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise Refused(Reason.UNDECODABLE, f"flat form: {error}") from None


def _decode_loosely(kind: type[T], data: bytes) -> T:
    """What strict JSON is not: bare NaN, Infinity and numbers past a double, which deserve a better reason than 'undecodable'."""
    try:
        loose: Any = json.loads(data)
        message = msgspec.convert(loose, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None
    except OverflowError:
        raise Refused(Reason.OUT_OF_RANGE, "a whole number past a double") from None
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.UNDECODABLE, str(error)) from None
    return message


def _refusal(error: msgspec.ValidationError) -> Refused:
    text = str(error)
    if _MISSING in text:
        return Refused(Reason.MISSING_FIELD, text)
    if "out of range" in text:
        return Refused(Reason.OUT_OF_RANGE, text)
    return Refused(Reason.WRONG_TYPE, text)


def is_symbol(text: str) -> bool:
    """Whether ``text`` is 1 to 64 letters, digits and ``: . _ / -``.

    >>> is_symbol("BINANCE:BTC-USDT"), is_symbol("BTC USDT"), is_symbol("")
    (True, False, False)
    """
    return _SYMBOL(text) is not None


def check_header(symbol: str, timestamp: int, received_ms: int, max_future_ms: int) -> None:
    """Refuse a symbol or a time that cannot be.

    Raises
    ------
    Refused
        ``bad_symbol``, ``out_of_range`` or ``future_time``.
    """
    if not _SYMBOL(symbol):
        raise Refused(Reason.BAD_SYMBOL, repr(symbol[:64]))
    if timestamp > received_ms + max_future_ms:
        raise Refused(
            Reason.FUTURE_TIME, f"{timestamp - received_ms} ms ahead of its receive time, {max_future_ms} allowed"
        )
    if not 0 < timestamp <= MAX_TIME_MS:
        raise Refused(Reason.OUT_OF_RANGE, f"timestamp {timestamp}")


def check_trade(trade: Trade) -> None:
    """Refuse a trade that no market makes.

    Raises
    ------
    Refused
        ``not_finite``, ``not_positive``, ``out_of_range`` or ``wrong_type`` (a side other than buy, sell or null).
    """
    for name, value in (("price", trade.price), ("size", trade.size)):
        check_number(name, value)
    if trade.side not in ("buy", "sell", None):
        raise Refused(Reason.WRONG_TYPE, f"side {trade.side!r:.20} is not buy, sell or null")
    if trade.next_funding is not None and not 0 < trade.next_funding <= MAX_TIME_MS:
        raise Refused(Reason.OUT_OF_RANGE, f"next_funding {trade.next_funding!s:.40}")


def check_score(post: ScoredPost) -> None:
    """Refuse a score that no model gives, or a hash that is not of 64 bits: they would be part of every later mean, or of no saved state.

    Raises
    ------
    Refused
        ``not_finite``, ``out_of_range`` or ``missing_field`` (one or two of the three probabilities).
    """
    if not 0 <= post.simhash < 2**64:
        raise Refused(Reason.OUT_OF_RANGE, f"simhash {post.simhash!s:.40}")
    probabilities = (post.positive, post.negative, post.neutral)
    given = [p for p in probabilities if p is not None]
    if len(given) not in (0, len(probabilities)):
        raise Refused(Reason.MISSING_FIELD, "a score has positive, negative and neutral, or none of them")
    for p in given:
        if not math.isfinite(p):
            raise Refused(Reason.NOT_FINITE, f"probability {p}")
        if not 0.0 <= p <= 1.0:
            raise Refused(Reason.OUT_OF_RANGE, f"probability {p}")


def check_microprice(table: MicropriceTable) -> None:
    """Refuse a microprice table that no fit makes, or that would be used before the end of its data.

    Raises
    ------
    Refused
        ``wrong_type`` (of another length), ``not_finite``, ``not_positive``, ``out_of_range`` or ``future_time``.
    """
    if len(table.g) != G_SIZE:
        raise Refused(Reason.WRONG_TYPE, f"g has {len(table.g)} numbers, not {G_SIZE}")
    check_number("tick", table.tick)
    for g in table.g:
        if g is not None and not abs(g) <= MAX_NUMBER:
            raise Refused(Reason.OUT_OF_RANGE if math.isfinite(g) else Reason.NOT_FINITE, f"g {g}")
    if not 0 < table.fitted_before <= table.usable_from <= MAX_TIME_MS or not 0 < table.version < 2**63:
        times = f"fitted before {table.fitted_before!s:.40}, usable from {table.usable_from!s:.40}"
        raise Refused(Reason.OUT_OF_RANGE, f"version {table.version!s:.40}, {times}")
    if table.usable_from > table.timestamp + MAX_AHEAD_MS:
        raise Refused(Reason.FUTURE_TIME, f"usable {table.usable_from - table.timestamp} ms after it was published")


def check_number(name: str, value: float) -> None:
    """Refuse a price or size that is not a finite positive number of at most 1e15.

    Raises
    ------
    Refused
        ``not_finite``, ``not_positive`` or ``out_of_range``.
    """
    if not math.isfinite(value):
        raise Refused(Reason.NOT_FINITE, f"{name} {value}")
    if value <= 0.0:
        raise Refused(Reason.NOT_POSITIVE, f"{name} {value}")
    if value > MAX_NUMBER:
        raise Refused(Reason.OUT_OF_RANGE, f"{name} {value}")
