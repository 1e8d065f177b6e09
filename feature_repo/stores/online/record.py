"""A view's row as one record of fixed size, which numpy decodes for all symbols and views at once.

The record stands in the row's time field, behind the event time, as a protobuf field that stock Feast skips. So whoever
writes the time replaces the record with it: a record is never older or newer than the time and the features beside it.

======== =============================================================
bytes    content
======== =============================================================
0 to 40  the time field as it is without a record, the tag and length
         of the record, zeros
40 to 48 which columns follow: a hash of their names and dtypes
48 to 56 event time in microseconds
56 to 64 time of the feed's last message: the event time less the
         silence in whole milliseconds
64 to    one double per column; NaN is null, an Int64 is a whole double
======== =============================================================

All numbers are little-endian, of eight bytes, and begin at multiples of eight.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from math import isnan
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from feature_repo.stores.online.format import (
    CREATED_TAG,
    DOUBLE_SIZE,
    DOUBLE_TAG,
    LONE_RECORD_TAG,
    MAX_SILENCE_MS,
    RECORD_TAG,
    SILENCE_TAG,
    decode_int64,
    decode_time,
    event_and_silence,
)

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Dtype = Literal["Float64", "Int64"]

WORD: Final = 8
FRONT_WORDS: Final = 5  # the time field without the record, which takes up to 31 bytes, and the record's tag and length
KEY_AT, EVENT_AT, HEARD_AT, VALUES_AT = (FRONT_WORDS + i for i in range(4))

FRONT: Final = WORD * FRONT_WORDS  # bytes before the record
HEAD_WORDS: Final = 2  # at the beginning of the front: the silence and the created time stand in its first 14 bytes
_TAG_AND_LENGTH: Final = 4
_VERSION: Final = "1"  # of the record's form, a part of the hash
EXACT: Final = 2**53  # whole numbers up to here are doubles
_DOUBLE: Final = struct.Struct("<d")
_TIMES: Final = struct.Struct("<qq")
_NULL: Final = _DOUBLE.pack(np.nan)
_OF_TIMESTAMP: Final = (b"\x08", b"\x10")  # tags of its seconds and nanos


class Layout:
    """The columns of a view's records; `layout_of` makes each once.

    Parameters
    ----------
    names : tuple of str
        Features in the order of the view's definition.
    dtypes : tuple of {'Float64', 'Int64'}
        One for each.
    """

    def __init__(self, names: tuple[str, ...], dtypes: tuple[Dtype, ...]) -> None:
        self.names, self.dtypes = names, dtypes
        self.index = {name: i for i, name in enumerate(names)}
        told = "\n".join([_VERSION, *(f"{name} {dtype}" for name, dtype in zip(names, dtypes, strict=True))])
        self._key = blake2b(told.encode(), digest_size=WORD).digest()
        self.key = int.from_bytes(self._key, "little", signed=True)
        self.n_words = VALUES_AT + len(names)
        self.size = WORD * self.n_words  # bytes of a time field with a record
        self._pack = struct.Struct(f"<3q{len(names)}d").pack
        self._fronts = {tag: _fronts(tag, self.size) for tag in (RECORD_TAG, LONE_RECORD_TAG)}
        self.absent = bytes(FRONT) + self._key + bytes(2 * WORD) + _NULL * len(names)  # everything is null

    def holds(self, raw: bytes) -> bool:
        """Return whether a time field has a record of these columns."""
        return len(raw) == self.size and raw[FRONT : FRONT + WORD] == self._key

    def with_record(self, time: bytes, record: bytes, *, lone: bool = False) -> bytes:
        """Return a time field with a record behind it; `lone` says that the features have no fields of their own."""
        return time + self._fronts[LONE_RECORD_TAG if lone else RECORD_TAG][len(time)] + record

    def record(self, event_us: int, silent_us: int, row: Sequence[float]) -> bytes:
        """Return the record of a row, whose values stand in the order of the columns."""
        told_us = min(max(silent_us // 1_000, 0), MAX_SILENCE_MS) * 1_000
        return self._pack(self.key, event_us, event_us - told_us, *row)

    def record_of(self, time: bytes, values: Sequence[bytes | None]) -> tuple[bytes, dict[int, bytes]]:
        """Return the record of a row of serialised values, and by column those that no double says exactly.

        These are NaN in the record: a NaN, which is not null there, a number beyond 2**53, a value of another type.
        """
        stamp, silent_us = event_and_silence(time)
        event_us = decode_time(stamp)
        cells, odd = [self._key, _TIMES.pack(event_us, event_us - silent_us)], {}
        for i, (dtype, raw) in enumerate(zip(self.dtypes, values, strict=True)):
            cell = _NULL if not raw else _double_of(raw) if dtype == "Float64" else _double_of_int(raw)
            if cell is None:
                odd[i], cell = raw or b"", _NULL
            cells.append(cell)
        return b"".join(cells), odd


layout_of = lru_cache(maxsize=1_024)(Layout)


def head_of(time: bytes) -> Ints:
    """Return the first words of a time field, with zeros where it is shorter."""
    return np.frombuffer(time[: HEAD_WORDS * WORD].ljust(HEAD_WORDS * WORD, b"\0"), "<i8")


def created_us(heads: Ints) -> Ints:
    """Return the created times, in microseconds, of time fields that begin with these words; 0 where a field has none.

    >>> from feature_repo.stores.online.format import encode_time, with_created, with_silence
    >>> times = [encode_time(7), with_created(encode_time(7), 9), with_silence(with_created(encode_time(7), 9), 3_000)]
    >>> created_us(np.array([head_of(time) for time in times])).tolist()
    [0, 9, 9]
    """
    first, second = heads[..., 0].astype(np.uint64), heads[..., 1].astype(np.uint64)
    behind_silence = first >> np.uint64(48) | second << np.uint64(16)  # behind five bytes and the tag
    at_once = first >> np.uint64(8) | second << np.uint64(56)  # behind the tag
    is_silence = _byte(first, 0) == SILENCE_TAG[0]
    has_created = np.where(is_silence, _byte(first, 5), _byte(first, 0)) == CREATED_TAG[0]
    return np.where(has_created, np.where(is_silence, behind_silence, at_once), 0).astype(np.int64)


def _byte(words: npt.NDArray[np.uint64], i: int) -> npt.NDArray[np.uint64]:
    return words >> np.uint64(8 * i) & np.uint64(255)


def is_lone(time: bytes) -> bool:
    """Return whether a time field says that the features of its row have no fields of their own."""
    stamp, at = event_and_silence(time)[0], 0
    while stamp[at : at + 1] in _OF_TIMESTAMP:
        at += 1
        while stamp[at : at + 1] > b"\x7f":
            at += 1
        at += 1
    return stamp[at : at + 1] == LONE_RECORD_TAG


def _fronts(tag: bytes, size: int) -> list[bytes]:
    """Return what stands between a time field and its record, by the length of the time field."""
    longest = FRONT - _TAG_AND_LENGTH
    return [tag + _length(size - n - _TAG_AND_LENGTH) + bytes(longest - n) for n in range(longest + 1)]


def _length(size: int) -> bytes:
    """Return a varint of three bytes; protobuf allows more than it needs."""
    return bytes((size & 127 | 128, size >> 7 & 127 | 128, size >> 14))


def _double_of(raw: bytes) -> bytes | None:
    """Return the double in a serialised ``Value``; None if it holds another type or a NaN."""
    cell = raw[1:]
    is_double = len(raw) == DOUBLE_SIZE and raw.startswith(DOUBLE_TAG)
    return cell if is_double and not isnan(_DOUBLE.unpack(cell)[0]) else None


def _double_of_int(raw: bytes) -> bytes | None:
    """Return the whole number in a serialised ``Value`` as a double; None if it holds another type or is not exact."""
    value = decode_int64(raw)
    return None if value is None or abs(value) > EXACT else _DOUBLE.pack(float(value))
