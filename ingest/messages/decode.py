"""Decoding of messages from bytes.

A message travels in one field ``data`` as JSON or MessagePack (the first byte tells which), or flat: one field for each name, with
``bids``, ``asks`` and ``depth`` as JSON. Times are whole milliseconds since the epoch, UTC; the event time may be ``timestamp_us``, in
microseconds, in place of ``timestamp``. Numbers may be written as decimal strings. The functions raise ``Refused`` with the reason
``undecodable``, ``missing_field``, ``wrong_type``, ``not_finite`` or ``out_of_range``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec

from ingest.messages.kinds import TIMED, UNITS, Trade
from ingest.messages.refusal import Reason, Refused

T = TypeVar("T", bound=msgspec.Struct)

_JSON_FIELDS = frozenset({b"bids", b"asks", b"depth", b"symbols"})
MAPS = frozenset(bytes([b]) for b in (*range(0x80, 0x90), 0xDE, 0xDF))
"""First bytes of a MessagePack map; everything else is read as JSON."""
encode = msgspec.msgpack.Encoder().encode  # encodes a message as this project's own programs send it


class _Reader(NamedTuple):
    """How messages of a kind are decoded: to the struct ``form``, of which ``finish`` makes the message."""

    form: type[msgspec.Struct]
    json: Callable[[bytes], Any]
    msgpack: Callable[[bytes], Any]
    finish: Callable[[Any], Any] | None


@functools.cache
def _reader(kind: type[T]) -> _Reader:
    form: type[msgspec.Struct] = kind
    finish: Callable[[Any], Any] | None = None
    if kind in TIMED:
        either = [("timestamp", int | None, None)]
        form = msgspec.defstruct(kind.__name__, either, bases=(kind,), kw_only=True, gc=False)
        finish = _trade if kind is Trade else functools.partial(_timed, kind, attrgetter(*kind.__struct_fields__[1:]))
    json_decoder, msgpack_decoder = (
        msgspec.json.Decoder(form, strict=False),
        msgspec.msgpack.Decoder(form, strict=False),
    )
    return _Reader(form, json_decoder.decode, msgpack_decoder.decode, finish)


def _timed(kind: type[T], others: Callable[[Any], tuple[Any, ...]], told: Any) -> T:
    """Return the message of which ``told`` has either of the times; ``timestamp`` is its first field."""
    return kind(_timestamp(told), *others(told))


def _trade(told: Any) -> Trade:
    """Do the same as ``_timed`` for a trade, in a third of the time."""
    return Trade(
        _timestamp(told),
        told.symbol,
        told.price,
        told.size,
        told.side,
        told.trade_id,
        told.received,
        told.next_funding,
        told.timestamp_us,
        told.recovered,
    )


def _timestamp(told: Any) -> int:
    """Return ``timestamp``, 0 where ``timestamp_us`` is given; raise ``Refused`` unless one of them is. A ``timestamp`` of 0 is not."""
    timestamp: int | None = told.timestamp
    if told.timestamp_us is None:
        if timestamp is None:
            raise Refused(Reason.MISSING_FIELD, f"neither timestamp nor timestamp_us: {UNITS}")
        return timestamp
    if timestamp:
        raise Refused(Reason.WRONG_TYPE, f"both timestamp and timestamp_us: send one of them; {UNITS}")
    return 0


def decode(kind: type[T], data: bytes) -> T:
    """Decode the message in ``data``."""
    reader = _reader(kind)
    try:
        told = reader.msgpack(data) if data[:1] in MAPS else reader.json(data)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told = _decode_loosely(reader.form, data)
    return told if reader.finish is None else reader.finish(told)  # type: ignore[no-any-return]


def decode_entry(kind: type[T], fields: Mapping[bytes, bytes]) -> T:
    """Decode the message of a stream entry, in ``data`` or flat."""
    data = fields.get(b"data")
    if data is not None:
        return decode(kind, data)
    reader = _reader(kind)
    try:
        flat = {k.decode(): json.loads(v) if k in _JSON_FIELDS else v.decode() for k, v in fields.items()}
        told: Any = msgspec.convert({k: v for k, v in flat.items() if v != ""}, reader.form, strict=False)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise Refused(Reason.UNDECODABLE, f"flat form: {error}") from None
    return told if reader.finish is None else reader.finish(told)  # type: ignore[no-any-return]


def _decode_loosely(kind: type[T], data: bytes) -> T:
    """Decode what is not strict JSON: bare NaN, Infinity and numbers past a double, which have a better reason than 'undecodable'."""
    try:
        return msgspec.convert(json.loads(data), kind, strict=False)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None
    except OverflowError:
        raise Refused(Reason.OUT_OF_RANGE, "a whole number past a double") from None
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.UNDECODABLE, f"not JSON: {error}") from None


def _refusal(error: msgspec.ValidationError) -> Refused:
    text = str(error)
    if "missing required field" in text:
        return Refused(Reason.MISSING_FIELD, text)
    if "out of range" in text:
        return Refused(Reason.OUT_OF_RANGE, text)
    return Refused(Reason.WRONG_TYPE, text)
