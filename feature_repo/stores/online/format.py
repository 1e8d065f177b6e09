"""Feast's Redis format as bytes: one hash per entity, one field per feature, protobuf values.

- Key: the entity key, serialised in version 3, then the project name. An entity key is the number of join keys, the name
  of each, sorted, and the value of each; a name or value is its type, its length, and its bytes.
- Field ``_ts:<view>``: the event time of the view's row, a ``google.protobuf.Timestamp``. Rows written here may carry two
  extra protobuf fields in front: number 15, fixed32, milliseconds for which the feed had been silent at the event time;
  then number 14, fixed64, the row's created time in microseconds. Behind the event time may stand the whole row as one
  record (`feature_repo.stores.online.record`): number 13, or number 12 where the features have no fields of their own.
  Stock Feast skips unknown fields.
- Field ``mmh3("<view>:<feature>")``, four bytes: a ``feast.types.Value``. An empty value is null.

Feast itself is not imported: that takes seconds, and a worker needs only these bytes. The tests compare them with Feast's.

Source: docs/specs/online_store_format.md of Feast.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import mmh3
from google.protobuf.timestamp_pb2 import Timestamp

# A protobuf tag is the field's number * 8 + its wire type: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
DOUBLE_TAG: Final = b"\x29"  # Value.double_val, number 5: eight bytes follow
INT64_TAG: Final = b"\x20"  # Value.int64_val, number 4: a varint follows
SILENCE_TAG: Final = b"\x7d"  # number 15, which Timestamp does not have: four bytes follow
CREATED_TAG: Final = b"\x71"  # number 14, which it does not have either: eight bytes follow
RECORD_TAG: Final = b"\x6a"  # number 13: a length and as many bytes follow
LONE_RECORD_TAG: Final = b"\x62"  # number 12: the same, and the row has no other fields
MAX_SILENCE_MS: Final = 2**32 - 1
DOUBLE_SIZE: Final = 9  # of a Value that holds a double: the tag and eight bytes

_SECONDS_TAG: Final = b"\x08"  # Timestamp.seconds, number 1
_NANOS_TAG: Final = b"\x10"  # Timestamp.nanos, number 2
_SILENCE_SIZE: Final = 5  # the tag and four bytes
_CREATED_SIZE: Final = 9  # the tag and eight bytes
_SECOND_US: Final = 1_000_000
_ONE_BYTE: Final = tuple(bytes((value,)) for value in range(128))  # most varints of a response are this short
_COUNT: Final = struct.Struct("<I")  # of the join keys
_PART: Final = struct.Struct("<II")  # type and length of a name or value in an entity key
_STRING: Final = 2  # Feast's ValueType of a text
_WHOLE: Final = (3, 4)  # those of whole numbers of four and eight bytes


class SymbolKeys:
    """Keys of entities that have one text join key, equal to those of `entity_keys` and made several times faster."""

    def __init__(self, project: str, join_key: str) -> None:
        self._head = key_head([join_key])
        self._tail = project.encode()

    def keys(self, symbols: Sequence[str]) -> list[bytes]:
        """Return one key per symbol, in order."""
        head, tail, pack, text = self._head, self._tail, _PART.pack, _STRING
        return [head + pack(text, len(raw)) + raw + tail for raw in [symbol.encode() for symbol in symbols]]


def key_head(join_keys: Sequence[str]) -> bytes:
    """Return what every key of these join keys begins with: their number and names."""
    names = [name.encode() for name in sorted(join_keys)]
    return _COUNT.pack(len(names)) + b"".join(_PART.pack(_STRING, len(name)) + name for name in names)


def project_of_key(key: bytes) -> bytes | None:
    """Return the project that a key belongs to; None if the bytes are no key.

    >>> project_of_key(SymbolKeys("trading", "symbol").keys(["BTCUSDT"])[0])
    b'trading'
    """
    try:
        (n,) = _COUNT.unpack_from(key)
        at = _COUNT.size
        for _ in range(2 * n):  # the names, then the values
            at += _PART.size + _PART.unpack_from(key, at)[1]
    except struct.error:
        return None
    return key[at:] if at <= len(key) else None


def entity_of_key(key: bytes) -> tuple[list[str], list[str | int]]:
    """Return the names of the join keys and their values; a value that is no text and no whole number comes as hexadecimal.

    >>> entity_of_key(SymbolKeys("trading", "symbol").keys(["BTCUSDT"])[0])
    (['symbol'], ['BTCUSDT'])
    """
    (n,) = _COUNT.unpack_from(key)
    parts: list[str | int] = []
    at = _COUNT.size
    for _ in range(2 * n):  # the names, then the values
        kind, size = _PART.unpack_from(key, at)
        at += _PART.size + size
        raw = key[at - size : at]
        if kind == _STRING:
            parts.append(raw.decode(errors="replace"))
        else:
            parts.append(int.from_bytes(raw, "little", signed=True) if kind in _WHOLE else raw.hex())
    return [str(name) for name in parts[:n]], parts[n:]


@lru_cache(maxsize=65_536)
def feature_field(view: str, feature: str) -> bytes:
    """Return the name of the hash field that holds a feature."""
    return mmh3.hash(f"{view}:{feature}", signed=False).to_bytes(4, "little")


def time_field(view: str) -> bytes:
    """Return the name of the hash field that holds the event time of a view's row."""
    return f"_ts:{view}".encode()


def varint(value: int) -> bytes:
    """Return a protobuf varint; a negative number takes ten bytes (two's complement).

    >>> varint(300).hex(), len(varint(-1))
    ('ac02', 10)
    """
    if 0 <= value < 128:
        return _ONE_BYTE[value]
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_int64(raw: bytes) -> int | None:
    """Return the number in a serialised ``Value``; None if the value is of another type.

    >>> decode_int64(INT64_TAG + varint(-300)), decode_int64(DOUBLE_TAG + bytes(8))
    (-300, None)
    """
    if not raw.startswith(INT64_TAG) or len(raw) < 2 or raw[-1] > 127 or any(byte < 128 for byte in raw[1:-1]):
        return None
    value = sum((byte & 127) << 7 * i for i, byte in enumerate(raw[1:]))
    return value - 2**64 if value >= 2**63 else value


@lru_cache(maxsize=4_096)
def encode_time(event_us: int) -> bytes:
    """Return microseconds since the epoch as a serialised ``Timestamp``.

    >>> encode_time(1_500_000).hex()
    '08011080cab5ee01'
    """
    seconds, micros = divmod(event_us, _SECOND_US)
    encoded = _SECONDS_TAG + varint(seconds) if seconds else b""
    return encoded + _NANOS_TAG + varint(micros * 1_000) if micros else encoded


@lru_cache(maxsize=4_096)
def decode_time(raw: bytes) -> int:
    """Return the microseconds since the epoch in a serialised ``Timestamp``; nanoseconds are cut off."""
    timestamp = Timestamp.FromString(raw)
    return int(timestamp.seconds * _SECOND_US + timestamp.nanos // 1_000)


def with_silence(time: bytes, silent_us: int) -> bytes:
    """Return a serialised event time with the silence of the feed in front; under a millisecond it is left out.

    >>> with_silence(encode_time(1_500_000), 3_000).hex()
    '7d0300000008011080cab5ee01'
    """
    if silent_us < 1_000:
        return time
    return SILENCE_TAG + min(silent_us // 1_000, MAX_SILENCE_MS).to_bytes(4, "little") + time


def with_created(time: bytes, created_us: int) -> bytes:
    """Return a serialised event time with the row's created time in front; add the silence after this.

    >>> with_created(encode_time(1_500_000), 2_000_000).hex()
    '7180841e000000000008011080cab5ee01'
    """
    return CREATED_TAG + max(created_us, 0).to_bytes(8, "little") + time


def event_and_silence(raw: bytes) -> tuple[bytes, int]:
    """Return the serialised event time alone, and the silence in microseconds.

    >>> time = with_created(encode_time(1_500_000), 2_000_000)
    >>> event, silent_us = event_and_silence(with_silence(time, 3_000))
    >>> decode_time(event), silent_us
    (1500000, 3000)
    """
    silent_us = 0
    if raw.startswith(SILENCE_TAG):
        silent_us = int.from_bytes(raw[1:_SILENCE_SIZE], "little") * 1_000
        raw = raw[_SILENCE_SIZE:]
    return raw[_CREATED_SIZE:] if raw.startswith(CREATED_TAG) else raw, silent_us
