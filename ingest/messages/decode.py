"""Decoding of messages from bytes.

A message travels in one field ``data`` as JSON or MessagePack (the first byte tells which), or flat: one field for each name, with
``bids``, ``asks`` and ``depth`` as JSON. Times are whole milliseconds since the epoch, UTC. Numbers may be written as decimal strings. The
functions raise ``Refused`` with the reason ``undecodable``, ``missing_field``, ``wrong_type``, ``not_finite`` or ``out_of_range``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from ingest.messages.refusal import Reason, Refused

T = TypeVar("T", bound=msgspec.Struct)

_json = functools.cache(lambda kind: msgspec.json.Decoder(kind, strict=False))
_msgpack = functools.cache(lambda kind: msgspec.msgpack.Decoder(kind, strict=False))
_JSON_FIELDS = frozenset({b"bids", b"asks", b"depth", b"symbols"})
MAPS = frozenset(bytes([b]) for b in (*range(0x80, 0x90), 0xDE, 0xDF))
"""First bytes of a MessagePack map; everything else is read as JSON."""
encode = msgspec.msgpack.Encoder().encode  # encodes a message as this project's own programs send it


def decode(kind: type[T], data: bytes) -> T:
    """Decode the message in ``data``."""
    try:
        decoder = _msgpack(kind) if data[:1] in MAPS else _json(kind)
        return decoder.decode(data)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        raise _refusal(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_loosely(kind, data)


def decode_entry(kind: type[T], fields: Mapping[bytes, bytes]) -> T:
    """Decode the message of a stream entry, in ``data`` or flat."""
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
