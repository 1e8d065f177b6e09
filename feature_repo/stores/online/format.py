"""Feast's Redis format as bytes: one hash per entity, one field per feature, protobuf values.

- Key: the entity key, serialised in version 3, then the project name.
- Field ``_ts:<view>``: the event time of the view's row, a ``google.protobuf.Timestamp``. Rows of our workers carry an
  extra protobuf field in front (number 15, fixed32: milliseconds for which the feed had been silent at the event time);
  stock Feast skips unknown fields.
- Field ``mmh3("<view>:<feature>")``, four bytes: a ``feast.types.Value``. An empty value is null.

Source: docs/specs/online_store_format.md of Feast.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from feast.infra.key_encoding_utils import serialize_entity_key, serialize_entity_key_prefix
from feast.infra.online_stores.helpers import _mmh3
from feast.value_type import ValueType
from google.protobuf.timestamp_pb2 import Timestamp

# A protobuf tag is the field's number * 8 + its wire type: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
DOUBLE_TAG: Final = b"\x29"  # Value.double_val, number 5: eight bytes follow
INT64_TAG: Final = b"\x20"  # Value.int64_val, number 4: a varint follows
SILENCE_TAG: Final = b"\x7d"  # number 15, which Timestamp does not have: four bytes follow
DOUBLE_SIZE: Final = 9  # of a Value that holds a double: the tag and eight bytes

_SECONDS_TAG: Final = b"\x08"  # Timestamp.seconds, number 1
_NANOS_TAG: Final = b"\x10"  # Timestamp.nanos, number 2
_SILENCE_SIZE: Final = 5  # the tag and four bytes
_MAX_SILENCE_MS: Final = 2**32 - 1
_SECOND_US: Final = 1_000_000
_STRING_HEAD: Final = struct.Struct("<II")  # type and length of a text in an entity key


class SymbolKeys:
    """Keys of entities that have one text join key, equal to those of `entity_keys` and made several times faster."""

    def __init__(self, project: str, join_key: str) -> None:
        self._head: bytes = serialize_entity_key_prefix([join_key], entity_key_serialization_version=3)
        self._tail = project.encode()

    def keys(self, symbols: Sequence[str]) -> list[bytes]:
        """Return one key per symbol, in order."""
        head, tail, pack, text = self._head, self._tail, _STRING_HEAD.pack, ValueType.STRING.value
        return [head + pack(text, len(raw)) + raw + tail for raw in [symbol.encode() for symbol in symbols]]


def entity_keys(config: Any, entities: Iterable[Any]) -> list[bytes]:
    """Return the keys of Feast's ``EntityKey`` messages, in order."""
    project, version = config.project.encode(), config.entity_key_serialization_version
    return [serialize_entity_key(entity, version) + project for entity in entities]


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
    return SILENCE_TAG + min(silent_us // 1_000, _MAX_SILENCE_MS).to_bytes(4, "little") + time


def without_silence(raw: bytes) -> tuple[bytes, int]:
    """Return the serialised event time alone, and the silence in microseconds.

    >>> time, silent_us = without_silence(with_silence(encode_time(1_500_000), 3_000))
    >>> decode_time(time), silent_us
    (1500000, 3000)
    """
    if not raw.startswith(SILENCE_TAG):
        return raw, 0
    return raw[_SILENCE_SIZE:], int.from_bytes(raw[1:_SILENCE_SIZE], "little") * 1_000
