"""Constants of PostgreSQL's binary COPY format, for both directions.

A stream is `SIGNATURE`, the rows, `TRAILER`. A row is ``int16 number of fields`` and, for each field,
``int32 length`` (-1 for null) and as many bytes. All numbers are big-endian.

Source: PostgreSQL documentation, COPY, "Binary Format"; ``src/include/catalog/pg_type.dat`` for the type ids.
"""

from __future__ import annotations

from typing import Final

SIGNATURE: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER: Final = b"\xff\xff"

FIELD_COUNT_BYTES: Final = 2
LENGTH_BYTES: Final = 4
NULL_LENGTH: Final = -1

EPOCH_US: Final = 946_684_800_000_000
"""2000-01-01 UTC, from which PostgreSQL counts time, in microseconds since 1970."""

BOOL: Final = 16
BYTEA: Final = 17
INT8: Final = 20
INT2: Final = 21
INT4: Final = 23
TEXT: Final = 25
FLOAT4: Final = 700
FLOAT8: Final = 701
BPCHAR: Final = 1042
VARCHAR: Final = 1043
DATE: Final = 1082
TIMESTAMP: Final = 1114
TIMESTAMPTZ: Final = 1184
NUMERIC: Final = 1700
UUID: Final = 2950
JSON: Final = 114
JSONB: Final = 3802

ARRAY_OF: Final = {
    BOOL: 1000,
    BYTEA: 1001,
    INT2: 1005,
    INT4: 1007,
    TEXT: 1009,
    BPCHAR: 1014,
    VARCHAR: 1015,
    INT8: 1016,
    FLOAT4: 1021,
    FLOAT8: 1022,
    TIMESTAMP: 1115,
    DATE: 1182,
    TIMESTAMPTZ: 1185,
    NUMERIC: 1231,
    UUID: 2951,
    JSON: 199,
    JSONB: 3807,
}
"""The type id of an array, by the type id of its elements."""
