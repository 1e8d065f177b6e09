"""PostgreSQL's hashes of rows, ``hash_record_extended(ROW(...), 0)``, of columns that are read elsewhere.

The hash of a row is made column by column: ``rows`` is an array of 64-bit numbers, 0 at first, to which each column is added. PostgreSQL
partitions tables by these hashes, and therefore keeps them; `agree` asks a server all the same.

Sources: PostgreSQL 15, ``hashfn.c`` (Bob Jenkins' lookup3), ``hashfunc.c``, ``rowtypes.c``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import psycopg
from numpy.typing import NDArray

from feature_repo.stores.offline.binary import format as wire
from transforms.kernel import COMPILED, jit

Hashes = NDArray[np.uint64]
_Bools = NDArray[np.bool_]

_LOW: Final = np.uint64(2**32 - 1)
_HALF: Final = np.uint64(32)
_SIGN: Final = np.uint64(63)
_START_4: Final = np.uint64((0x9E3779B9 + 3923095 + 4) % 2**32)  # of keys of four bytes, and of eight
_START_8: Final = np.uint64((0x9E3779B9 + 3923095 + 8) % 2**32)
_NAN: Final = np.uint64(0x7FF8_0000_0000_0000)
_ZERO: Final = np.uint64(0)
_FACTOR: Final = np.uint64(31)
_PROBE: Final = """
SELECT hash_record_extended(ROW(t, timestamptz '2024-01-01 00:00:01.5+00', i, d), 0) FROM (VALUES
    ('a'::text, -7::integer, 0.1::float8), ('é much longer text', NULL, 'NaN'), ('', 86400000, '-0')) AS v(t, i, d)"""


def of_texts(connection: psycopg.Connection[Any], texts: Sequence[str]) -> Hashes:
    """Return the hashes of texts, which the server computes. Those of a row's first column are its hash so far."""
    query = "SELECT hashtextextended(given, 0) FROM unnest(%s::text[]) WITH ORDINALITY AS of(given, n) ORDER BY n"
    return np.array([row[0] for row in connection.execute(query, (list(texts),))], np.int64).view(np.uint64)


def add_doubles(rows: Hashes, values: NDArray[np.float64], is_valid: _Bools | None = None) -> None:
    """Add a column of doubles: both zeros are the same, and so are all NaNs. One that is null, which is not `is_valid`, hashes as 0."""
    _add_doubles(rows, values, values.view(np.uint64), np.ones(len(rows), np.bool_) if is_valid is None else is_valid)


def add_wholes(rows: Hashes, values: NDArray[np.int64], is_valid: _Bools | None = None) -> None:
    """Add a column of ``bigint``, which hashes as smaller integers of the same value do."""
    _add_wholes(rows, values.view(np.uint64), np.ones(len(rows), np.bool_) if is_valid is None else is_valid)


def add_times(rows: Hashes, us: NDArray[np.int64]) -> None:
    """Add a column of ``timestamptz``, given in microseconds since 1970 UTC."""
    add_wholes(rows, us - wire.EPOCH_US)


def agree(connection: psycopg.Connection[Any]) -> bool:
    """Return whether this process has compiled code, without which hashing takes too long, and the server hashes rows alike."""
    if not COMPILED:
        return False
    rows = of_texts(connection, ["a", "é much longer text", ""])
    add_times(rows, np.full(3, 1_704_067_201_500_000))
    add_wholes(rows, np.array([-7, 0, 86_400_000]), np.array([True, False, True]))
    add_doubles(rows, np.array([0.1, np.nan, -0.0]))
    return bool(rows.view(np.int64).tolist() == [row[0] for row in connection.execute(_PROBE)])


@jit
def _rotated(x: np.uint64, bits: int) -> np.uint64:
    return ((x << np.uint64(bits)) | (x >> np.uint64(32 - bits))) & _LOW


@jit
def _mixed(a: np.uint64, b: np.uint64, c: np.uint64) -> np.uint64:
    """Return the hash of a key whose words were added to the state; the numbers have 32 bits."""
    c = ((c ^ b) - _rotated(b, 14)) & _LOW
    a = ((a ^ c) - _rotated(c, 11)) & _LOW
    b = ((b ^ a) - _rotated(a, 25)) & _LOW
    c = ((c ^ b) - _rotated(b, 16)) & _LOW
    a = ((a ^ c) - _rotated(c, 4)) & _LOW
    b = ((b ^ a) - _rotated(a, 14)) & _LOW
    c = ((c ^ b) - _rotated(b, 24)) & _LOW
    return (b << _HALF) | c


@jit
def _add_doubles(rows: Hashes, values: NDArray[np.float64], bits: Hashes, is_valid: _Bools) -> None:
    for i in range(len(rows)):
        value = values[i]
        key = bits[i] if value == value else _NAN
        found = _mixed((_START_8 + (key & _LOW)) & _LOW, (_START_8 + (key >> _HALF)) & _LOW, _START_8)
        rows[i] = rows[i] * _FACTOR + (found if value != 0.0 and is_valid[i] else _ZERO)


@jit
def _add_wholes(rows: Hashes, bits: Hashes, is_valid: _Bools) -> None:
    for i in range(len(rows)):
        high = bits[i] >> _HALF
        if bits[i] >> _SIGN:
            high ^= _LOW
        found = _mixed((_START_4 + ((bits[i] & _LOW) ^ high)) & _LOW, _START_4, _START_4)
        rows[i] = rows[i] * _FACTOR + (found if is_valid[i] else _ZERO)
