"""Feast's Redis format as bytes: one hash an entity, one field a feature, protobuf inside.

- key: the entity key, serialised in version 3, then the project
- field ``_ts:<view>``: the event time, a ``google.protobuf.Timestamp``; in rows of our workers a field that it has not stands
  before it, 15, fixed32: for how many milliseconds the view's feed had been silent by then. Protobuf has readers pass over it
- field ``mmh3("<view>:<feature>")``, four bytes: a ``feast.types.Value``; empty means null

Source: docs/specs/online_store_format.md of Feast.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from feast.infra.key_encoding_utils import serialize_entity_key_prefix
from feast.infra.online_stores.helpers import _mmh3
from feast.value_type import ValueType
from google.protobuf.timestamp_pb2 import Timestamp

DOUBLE_TAG: Final = 0x29  # field 5 of Value, eight bytes follow
INT64_TAG: Final = 0x20  # field 4 of Value, a varint follows
DOUBLE_SIZE: Final = 9
SILENCE: Final = b"\x7d"  # field 15, four bytes follow

_STRING: Final = struct.Struct("<II")
_SECOND_US: Final = 1_000_000


class SymbolKeys:
    """Builds the keys of entities that have one text join key; equal to Feast's own serialisation."""

    def __init__(self, project: str, join_key: str) -> None:
        self._head: bytes = serialize_entity_key_prefix([join_key], entity_key_serialization_version=3)
        self._tail = project.encode()

    def keys(self, symbols: Sequence[str]) -> list[bytes]:
        """Return one key a symbol, in order."""
        head, tail, pack, text = self._head, self._tail, _STRING.pack, ValueType.STRING.value
        return [head + pack(text, len(raw)) + raw + tail for raw in [symbol.encode() for symbol in symbols]]


@lru_cache(maxsize=65_536)
def feature_field(view: str, feature: str) -> bytes:
    """Return the name of the hash field that holds a feature."""
    return bytes(_mmh3(f"{view}:{feature}"))


def time_field(view: str) -> bytes:
    """Return the name of the hash field that holds the event time of a view's row."""
    return f"_ts:{view}".encode()


def varint(value: int) -> bytes:
    """Return a protobuf varint; a negative number takes ten bytes (two's complement).

    >>> varint(300).hex(), len(varint(-1))
    ('ac02', 10)
    """
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


@lru_cache(maxsize=4_096)
def encode_time(event_us: int) -> bytes:
    """Return microseconds since the epoch as a serialised ``Timestamp``.

    >>> encode_time(1_500_000).hex()
    '08011080cab5ee01'
    """
    seconds, micros = divmod(event_us, _SECOND_US)
    return (b"\x08" + varint(seconds) if seconds else b"") + (b"\x10" + varint(micros * 1_000) if micros else b"")


def with_silence(time: bytes, silent_us: int) -> bytes:
    """Return a serialised event time that also says how long the feed had been silent by then.

    >>> with_silence(encode_time(1_500_000), 3_000).hex()
    '7d0300000008011080cab5ee01'
    """
    return SILENCE + min(silent_us // 1_000, 2**32 - 1).to_bytes(4, "little") + time if silent_us >= 1_000 else time


def without_silence(raw: bytes) -> tuple[bytes, int]:
    """Return the serialised event time alone, and the silence in microseconds.

    >>> time, silent_us = without_silence(with_silence(encode_time(1_500_000), 3_000))
    >>> decode_time(time), silent_us
    (1500000, 3000)
    """
    if raw[:1] != SILENCE:
        return raw, 0
    return raw[5:], int.from_bytes(raw[1:5], "little") * 1_000


@lru_cache(maxsize=4_096)
def decode_time(raw: bytes) -> int:
    """Return the microseconds since the epoch in a serialised ``Timestamp``; nanoseconds below are cut off.

    Raises
    ------
    google.protobuf.message.DecodeError
        Where the bytes are not a ``Timestamp``.
    """
    timestamp = Timestamp.FromString(raw)
    return int(timestamp.seconds * _SECOND_US + timestamp.nanos // 1_000)
