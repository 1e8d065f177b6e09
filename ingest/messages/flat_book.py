"""Decoding of an order book into the flat vector that the kernels read.

A Python object for each price and size costs more than all kernels together. So where the kernels are compiled, a compiled function
(``level_reader``) reads the levels from the message's bytes. It reads what feeds send. Everything else, every faulty message among it,
goes to the general decoder (``decode``), which alone decides what a message is and why it is refused. Where both can decode a message,
they give the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ingest.messages.decode import MAPS, decode_entry
from ingest.messages.kinds import OrderBook
from ingest.messages.level_reader import read_json, read_msgpack
from transforms.kernel import COMPILED, Vector, zeros
from transforms.limits import MAX_LEVELS
from transforms.microstructure.layout import FLAT_SIZE, Depth, empty, fill


class FlatBook(msgspec.Struct, gc=False):
    """``OrderBook`` with its levels in one vector, flat or deep, as ``transforms.microstructure.layout`` draws it."""

    timestamp: int
    symbol: str
    levels: Vector
    n_bid: int
    n_ask: int
    sequence: int | None = None
    received: int | None = None
    depth: Depth | None = None
    timestamp_us: int | None = None


class _Frame(msgspec.Struct, gc=False):
    """``OrderBook`` with its levels not decoded, and with either of its times."""

    symbol: str
    bids: msgspec.Raw
    asks: msgspec.Raw
    timestamp: int | None = None
    timestamp_us: int | None = None
    sequence: int | None = None
    received: int | None = None
    depth: Depth | None = None


_msgpack = msgspec.msgpack.Decoder(_Frame, strict=False).decode
_json = msgspec.json.Decoder(_Frame, strict=False).decode


def decode_book(fields: Mapping[bytes, bytes]) -> FlatBook:
    """Decode the book of a stream entry, in ``data`` or flat; raise ``Refused`` as ``decode.decode_entry``."""
    data = fields.get(b"data")
    book = decode_fast(data) if COMPILED and data is not None else None
    return decode_any(fields) if book is None else book


def decode_fast(data: bytes) -> FlatBook | None:
    """Decode a book with the compiled function; return None for what only the general decoder can judge."""
    packed = data[:1] in MAPS
    try:
        frame = _msgpack(data) if packed else _json(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not packed and b"\\" in data:
        return None
    timestamp, timestamp_us = frame.timestamp, frame.timestamp_us
    if not (timestamp if timestamp_us is None else not timestamp):
        return None
    read = read_msgpack if packed else read_json
    levels = zeros(FLAT_SIZE)
    n_bid, n_ask = read(data, levels)
    if n_ask < 0:
        return None
    if n_bid > MAX_LEVELS or n_ask > MAX_LEVELS:
        levels = empty(max(n_bid, n_ask))
        read(data, levels)
    return FlatBook(
        timestamp or 0, frame.symbol, levels, n_bid, n_ask, frame.sequence, frame.received, frame.depth, timestamp_us
    )


def decode_any(fields: Mapping[bytes, bytes]) -> FlatBook:
    """Decode a book with the general decoder."""
    book = decode_entry(OrderBook, fields)
    levels = empty(max(len(book.bids), len(book.asks)))
    n_bid, n_ask = fill(levels, book.bids, book.asks)
    return FlatBook(
        book.timestamp, book.symbol, levels, n_bid, n_ask, book.sequence, book.received, book.depth, book.timestamp_us
    )


def warm_up() -> None:
    """Compile the readers or load them from the cache, so that the first book does not wait."""
    book = OrderBook(1, "A", [(1.0, 1.0)], [(2.0, 1.0)])
    for data in (msgspec.msgpack.encode(book), msgspec.json.encode(book)):
        decode_book({b"data": data})
