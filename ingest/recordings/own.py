"""This project's own messages as JSON lines: one message a line, its kind told by its fields or by a key ``stream``."""

from __future__ import annotations

from typing import Any

import msgspec

from ingest.messages.check import check_header
from ingest.messages.decode import decode, encode
from ingest.messages.kinds import KIND, PLAIN_STREAM, SocialPost
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.lines import Line, Parsed
from ingest.streams.keys import SOCIAL

KINDS: dict[str, str] = {**PLAIN_STREAM, SOCIAL: "social"}
"""The kind of the messages of each plain stream."""
_LARGEST = 2**63
_CHECKED = (
    "sequence",
    "trade_id",
    "next_funding",
    "received",
    "observed_at",
    "likes",
    "reposts",
    "replies",
    "followers",
)


class _Told(msgspec.Struct):
    """What tells the kind of a message."""

    stream: str | None = None
    bids: Any = None
    asks: Any = None
    text: Any = None
    price: Any = None
    size: Any = None


def parse(line: Line, max_future_ms: int, *, received_ms: int | None = None) -> Parsed:
    """The message of a line. A message that says not when it was received counts as received at ``received_ms``, else when it happened.

    Raises
    ------
    Refused
        It is none, or its symbol, a time or a whole number cannot be; prices and sizes are left to who takes it.
    """
    told = decode(_Told, line.data)
    if told.stream is not None:
        kind = KINDS.get(told.stream)
        if kind is None:
            raise Refused(Reason.WRONG_TYPE, f"stream {told.stream!r:.40} is none of {', '.join(KINDS)}")
    elif told.bids is not None or told.asks is not None:
        kind = "book"
    elif told.text is not None:
        kind = "social"
    elif told.price is not None or told.size is not None:
        kind = "trade"
    else:
        raise Refused(Reason.MISSING_FIELD, "neither bids and asks, nor price and size, nor text")
    return parse_kind(kind, line.data, max_future_ms, received_ms=received_ms)


def parse_kind(kind: str, data: bytes, max_future_ms: int, *, received_ms: int | None = None) -> Parsed:
    """The message in ``data``, of which the kind is known; all else as ``parse``."""
    message: Any = decode(SocialPost if kind == "social" else KIND[kind], data)
    for name in _CHECKED:
        value = getattr(message, name, None)
        if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
            raise Refused(Reason.OUT_OF_RANGE, f"{name} {value!s:.40}")
    if b"\\u" in data:
        _check_text(message)
    if message.received is None:
        message.received = message.timestamp if received_ms is None else received_ms
    # a post may name no symbol, or several: the scorer looks at those
    check_header("-" if kind == "social" else message.symbol, message.timestamp, message.received, max_future_ms)
    return Parsed(kind, message)


def _check_text(message: msgspec.Struct) -> None:
    """Refuse text with half of a surrogate pair: JSON can write it, no other encoding can."""
    try:
        encode(message)
    except UnicodeEncodeError as error:
        raise Refused(Reason.UNDECODABLE, str(error)) from None
