"""Single values of a file of the lake, taken from its bytes where they lie there as they are, without reading a whole row group.

A column of numbers or times is written without compression (`files`). Where a row group has no null in it, its column is one page: a
header, the levels, which say in a few bytes that nothing is null, and the values, eight bytes each. A column that cannot be null has no
levels, and one that is null throughout no values.

Sources: Apache Parquet, ``parquet.thrift`` (PageHeader) and ``Encodings.md`` (PLAIN, RLE); Thrift's compact protocol.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import BinaryIO, Final

import pyarrow.parquet as pq

WIDTH: Final = 8
DTYPES: Final = {"DOUBLE": "<f8", "INT64": "<i8"}
NULL: Final = -1
"""The place of a column of a row group that is null throughout."""
_ENCODINGS: Final = {"PLAIN", "RLE"}  # of the values and of the levels
_I32_NEXT: Final = b"\x15"  # a field of 32 bits whose number is one more than that before
_DATA_PAGE: Final = _I32_NEXT + b"\x00"
_LONGEST_HEADER: Final = 256


def place_of(file: BinaryIO, chunk: pq.ColumnChunkMetaData, *, nullable: bool = True) -> int | None:
    """Return where in a file the values of a column of a row group begin; `NULL`, or None where they do not lie there one by one.

    Parameters
    ----------
    file : BinaryIO
        That the column is in.
    chunk : pyarrow.parquet.ColumnChunkMetaData
        Of a column that is not nested.
    nullable : bool
        Whether the column may be null.
    """
    rows = chunk.num_values
    if (
        chunk.compression != "UNCOMPRESSED"
        or chunk.physical_type not in DTYPES
        or chunk.has_dictionary_page
        or not set(chunk.encodings) <= _ENCODINGS
    ):
        return None
    begin, end = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size
    head = os.pread(file.fileno(), 2 * _LONGEST_HEADER, begin)
    for is_present in (True, False) if nullable else (True,):
        header, levels, body = _page(rows, nullable, is_present)
        at = end - body
        if head.startswith(header) and 0 < at - begin < _LONGEST_HEADER and head.startswith(levels, at - begin):
            return int(at + len(levels)) if is_present else NULL
    return None


@lru_cache(maxsize=256)
def _page(rows: int, nullable: bool, is_present: bool) -> tuple[bytes, bytes, int]:
    """Return how the header of the one page of a column begins, its levels, and how many bytes levels and values have.

    Of two pages, or with a null among the values, the first page has another size.
    """
    run = _varint(2 * rows) + bytes([is_present])  # as many times "not null", or "null"
    levels = len(run).to_bytes(4, "little") + run if nullable else b""
    body = len(levels) + WIDTH * rows * is_present
    size = _I32_NEXT + _varint(2 * body)  # unpacked, and the same packed
    return _DATA_PAGE + 2 * size, levels, body


def _varint(value: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first. One that may be negative is doubled before it (zigzag).

    >>> _varint(2 * 16_384).hex()
    '808002'
    """
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
