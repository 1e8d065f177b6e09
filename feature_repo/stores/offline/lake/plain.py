"""Single values of a file of the lake, taken from its bytes where they lie there as they are, without reading a whole row group.

A column of numbers is written without compression (`files`). Where a row group has no null in it, its column is one page: a header, the
levels, which say in a few bytes that nothing is null, and the values, eight bytes each.

Sources: Apache Parquet, ``parquet.thrift`` (PageHeader) and ``Encodings.md`` (PLAIN, RLE); Thrift's compact protocol.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Final

import pyarrow.parquet as pq

WIDTH: Final = 8
DTYPES: Final = {"DOUBLE": "<f8", "INT64": "<i8"}
_ENCODINGS: Final = {"PLAIN", "RLE"}  # of the values and of the levels
_I32_NEXT: Final = 0x15  # a field of 32 bits whose number is one more than that before
_DATA_PAGE: Final = 0
_LONGEST_HEADER: Final = 256


def place_of(file: BinaryIO, chunk: pq.ColumnChunkMetaData) -> int | None:
    """Return where in a file the values of a column of a row group begin; None where they do not lie there one by one.

    Parameters
    ----------
    file : BinaryIO
        That the column is in.
    chunk : pyarrow.parquet.ColumnChunkMetaData
        Of a column that may be null and is not nested.
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
    told = _sizes(head)
    run = _varint(2 * rows) + b"\x01"  # as many times "not null"
    levels = len(run).to_bytes(4, "little") + run
    body = len(levels) + WIDTH * rows
    at = end - body
    # One page of exactly these bytes: of two pages, or with a null among the values, the first is shorter.
    if told != (body, body) or not 0 < at - begin < _LONGEST_HEADER or not head.startswith(levels, at - begin):
        return None
    return int(end - WIDTH * rows)


def _sizes(header: bytes) -> tuple[int, int] | None:
    """Return the two sizes, unpacked and packed, in the header of a page of values; None for another page."""
    found, at = [], 0
    for _ in range(3):
        if at >= len(header) or header[at] != _I32_NEXT:
            return None
        value, shift, at = 0, 0, at + 1
        while at < len(header):
            value |= (header[at] & 0x7F) << shift
            shift += 7
            at += 1
            if header[at - 1] < 0x80:
                break
        found.append(value >> 1)  # zigzag, of numbers that are not negative
    return (found[1], found[2]) if found[0] == _DATA_PAGE else None


def _varint(value: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first.

    >>> _varint(2 * 16_384).hex()
    '808002'
    """
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
