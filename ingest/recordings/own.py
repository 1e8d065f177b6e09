"""This project's own messages as JSON lines. A message's fields tell its kind, or its key ``stream`` does; a gap has ``"kind": "gap"``.

The fields of a liquidation are those of a trade, so it needs the key: ``"stream": "liquidation"``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ingest.messages.check import (
    check_derivatives,
    check_gap,
    check_header,
    check_liquidation,
    check_number,
    check_trade,
)
from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.messages.decode import decode, encode
from ingest.messages.kinds import KIND, MAX_INTEGER, PLAIN_STREAM, Message, OrderBook, SocialPost, Trade, time_us
from ingest.messages.posts import decode_post
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.lines import POST, Line, Output, Parsed, Rejected
from ingest.streams.keys import SOCIAL

KIND_OF_STREAM: dict[str, str] = {**PLAIN_STREAM, SOCIAL: POST}  # the kind of the messages of each plain stream
SIDES: dict[str, str | None] = {
    "buy": "buy", "b": "buy", "bid": "buy", "buyer": "buy",
    "sell": "sell", "s": "sell", "ask": "sell", "a": "sell", "offer": "sell", "seller": "sell",
    "unknown": None, "none": None, "null": None, "undefined": None, "n": None, "nan": None, "": None,
}  # fmt: skip
"""The aggressor's side by the words that venues and vendors use, in lower case. A trade of unknown side keeps its volume."""
GAP = "gap"  # the kind of a message that says what a feed missed
_COUNTS = ("likes", "reposts", "replies", "followers")
_INTEGERS = ("sequence", "trade_id", "next_funding", "next_funding_time", "received", "observed_at", *_COUNTS)


class _Told(msgspec.Struct):
    """The fields that tell the kind of a message."""

    kind: Any = None
    stream: str | None = None
    bids: Any = None
    asks: Any = None
    text: Any = None
    price: Any = None
    size: Any = None
    deleted: Any = None
    mark: Any = None
    index: Any = None
    funding_rate: Any = None
    next_funding_time: Any = None
    open_interest: Any = None


def parse(line: Line, max_future_ms: int, *, received_ms: int | None = None) -> Output:
    """Return the message of a line. Prices and sizes are not checked here; the worker checks them.

    A message without a receive time counts as received at ``received_ms``, or without that when it happened. A line that is no message, or
    whose symbol, times or whole numbers are impossible, is returned as refused.
    """
    try:
        return parse_kind(_kind(line.data), line.data, max_future_ms, received_ms=received_ms)
    except Refused as refused:
        return Rejected(line, refused.reason, refused.detail)


def check_numbers(message: Message | SocialPost) -> None:
    """Check the prices and sizes of a message, as the worker does at its turn; raise ``Refused`` if one is impossible."""
    if isinstance(message, Trade):
        check_trade(message)
    elif isinstance(message, Derivatives):
        check_derivatives(message)
    elif isinstance(message, Liquidation):
        check_liquidation(message)
    elif isinstance(message, OrderBook):
        if not (message.bids and message.asks):
            raise Refused(Reason.EMPTY_BOOK, "a side without levels")
        for price, size in (*message.bids, *message.asks):
            check_number("price", price)
            check_number("size", size)
        if message.bids[0][0] >= message.asks[0][0]:
            raise Refused(Reason.CROSSED_BOOK)


def _kind(data: bytes) -> str:
    told = decode(_Told, data)
    if told.kind == GAP:
        return GAP
    if told.stream is not None:
        kind = KIND_OF_STREAM.get(told.stream)
        if kind is None:
            raise Refused(Reason.WRONG_TYPE, f"stream {told.stream!r:.40} is none of {', '.join(KIND_OF_STREAM)}")
        return kind
    if told.bids is not None or told.asks is not None:
        return "book"
    if told.text is not None or told.deleted is True:
        return POST
    if told.price is not None or told.size is not None:
        return "trade"
    if any(
        x is not None for x in (told.mark, told.index, told.funding_rate, told.next_funding_time, told.open_interest)
    ):
        return "derivatives"
    raise Refused(
        Reason.MISSING_FIELD, "neither bids and asks, nor price and size, nor mark, index or others, nor text"
    )


def parse_kind(kind: str, data: bytes, max_future_ms: int, *, received_ms: int | None = None) -> Parsed:
    """Return the message in ``data``, whose kind is known, as ``parse`` does; raise ``Refused`` if it is impossible."""
    message: Any = decode_post({b"data": data}, received_ms) if kind == POST else decode(KIND[kind], data)
    if kind in ("trade", "liquidation") and message.side is not None:
        side = SIDES.get(message.side.strip().lower(), message.side)  # the checks refuse another word
        message.side = side if kind == "trade" else side or message.side
    if kind == GAP:
        check_gap(message)
    for name in _INTEGERS:
        value = getattr(message, name, None)
        if isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER:
            raise Refused(Reason.OUT_OF_RANGE, f"{name} {value!s:.40}")
    if b"\\u" in data:
        try:  # JSON can write half of a surrogate pair, and no other encoding can
            encode(message)
        except UnicodeEncodeError as error:
            raise Refused(Reason.UNDECODABLE, str(error)) from None
    if message.received is None:
        message.received = time_us(message) // 1000 if received_ms is None else received_ms
    # a post may name no symbol, or several: the scorer checks those
    check_header("-" if kind == POST else message.symbol, time_us(message), message.received, max_future_ms)
    return Parsed(kind, message)
