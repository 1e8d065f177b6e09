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
from typing import Any, TypeVar

import msgspec

from ingest.messages.kinds import NO_TIME, TIMED, TWO_TIMES, Trade
from ingest.messages.refusal import Reason, Refused

T = TypeVar("T", bound=msgspec.Struct)

_JSON_FIELDS = frozenset({b"bids", b"asks", b"depth", b"symbols"})
MAPS = frozenset(bytes([b]) for b in (*range(0x80, 0x90), 0xDE, 0xDF))
"""First bytes of a MessagePack map; everything else is read as JSON."""
encode = msgspec.msgpack.Encoder().encode  # encodes a message as this project's own programs send it


Form = type[msgspec.Struct]
Decoder = Callable[[bytes], Any]


@functools.cache
def _reader(kind: type[T]) -> tuple[Form, Decoder, Decoder, Callable[[Any], Any] | None]:
    """Return the form that messages of a kind are decoded to, its decoders of JSON and MessagePack, and what makes the message of it.

    In the form ``timestamp`` may be missing, because ``timestamp_us`` may take its place.
    """
    form: Form = kind
    finish: Callable[[Any], Any] | None = None
    if kind in TIMED:
        form = msgspec.defstruct(
            kind.__name__, [("timestamp", int | None, None)], bases=(kind,), kw_only=True, gc=False
        )
        others = attrgetter(*kind.__struct_fields__[1:])
        finish = _trade if kind is Trade else lambda told: kind(_timestamp(told), *others(told))
    json_decoder, msgpack_decoder = (m.Decoder(form, strict=False) for m in (msgspec.json, msgspec.msgpack))
    return form, json_decoder.decode, msgpack_decoder.decode, finish


def _trade(told: Any) -> Trade:
    """Return the trade; naming its fields takes a third of the time of the general way."""
    timestamp: int | None = told.timestamp
    if timestamp is None or told.timestamp_us is not None:
        timestamp = _timestamp(told)
    return Trade(
        timestamp,
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
            raise Refused(Reason.MISSING_FIELD, NO_TIME)
        return timestamp
    if timestamp:
        raise Refused(Reason.WRONG_TYPE, TWO_TIMES)
    return 0


def decode(kind: type[T], data: bytes) -> T:
    """Decode the message in ``data``."""
    form, from_json, from_msgpack, finish = _reader(kind)
    try:
        told = from_msgpack(data) if data[:1] in MAPS else from_json(data)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told = _decode_loosely(form, data)
    return told if finish is None else finish(told)  # type: ignore[no-any-return]


def decode_entry(kind: type[T], fields: Mapping[bytes, bytes]) -> T:
    """Decode the message of a stream entry, in ``data`` or flat."""
    data = fields.get(b"data")
    if data is not None:
        return decode(kind, data)
    form, *_, finish = _reader(kind)
    try:
        flat = {k.decode(): json.loads(v) if k in _JSON_FIELDS else v.decode() for k, v in fields.items()}
        told: Any = msgspec.convert({k: v for k, v in flat.items() if v != ""}, form, strict=False)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise Refused(Reason.UNDECODABLE, f"flat form: {error}") from None
    return told if finish is None else finish(told)  # type: ignore[no-any-return]


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
