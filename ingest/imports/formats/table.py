"""Rows of CSV text (comma, semicolon or tab) and Parquet files as lists of values, read as a stream."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.imports.formats.form import Head
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.files import DAMAGE, FileFormError, is_damage, is_parquet, open_bytes, open_text
from ingest.recordings.rows import delimiter_of

_BATCH = 1024
_HEAD_ROWS = 6
_HEAD_CHARS = 65_536
_FIRST_BYTES = 16
# the first bytes of files of records, which formats read by themselves
_BINARY = (*(b"DBN" + bytes([version]) for version in range(1, 10)), b"\x93NUMPY")

Row = list[Any] | Refused


def head_of(path: Path) -> Head:
    """Return the begin of a file. Raise ``FileFormError`` if it is packed text that cannot be unpacked, or no text."""
    if is_parquet(path):
        return Head(path, [row for row in islice(rows_of(path), _HEAD_ROWS) if isinstance(row, list)])
    first = _first_bytes(path)
    if first.startswith(_BINARY):
        return Head(path, (), first=first)
    text = _begin(path)
    lines = text.splitlines()[:_HEAD_ROWS]
    try:
        rows = list(csv.reader(lines, delimiter=delimiter_of(text)))
    except csv.Error:
        rows = []
    return Head(path, rows, lines)


def rows_of(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, the first row (the names, if it has any) too. A damaged row is a ``Refused``."""
    return _parquet_rows(path) if is_parquet(path) else _csv_rows(path)


def _first_bytes(path: Path) -> bytes:
    with open_bytes(path) as file:
        try:
            return file.read(_FIRST_BYTES)
        except DAMAGE as error:
            if not is_damage(error):
                raise
            return b""  # what is damaged at its begin is told where it is read


def _begin(path: Path) -> str:
    with TextIOWrapper(open_text(path), encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            return file.read(_HEAD_CHARS)
        except DAMAGE as error:
            if not is_damage(error):
                raise
            raise FileFormError(f"{path.name} is not read: it is damaged at its begin: {error}") from None


def _csv_rows(path: Path) -> Iterator[Row]:
    delimiter = delimiter_of(_begin(path))
    # names in another encoding (OKX writes Chinese ones in GBK) are cut at the slash, so their letters do not matter
    with TextIOWrapper(open_text(path), encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(file, delimiter=delimiter)
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield Refused(Reason.UNDECODABLE, str(error))
                continue
            except DAMAGE as error:
                if not is_damage(error):
                    raise
                yield Refused(Reason.UNDECODABLE, f"the file is damaged here: {error}")
                return
            if row:
                yield row


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise FileFormError(f"{path.name} is not read: {error}") from None
    yield list(file.schema_arrow.names)
    for batch in file.iter_batches(_BATCH):
        yield from map(list, zip(*(column.to_pylist() for column in batch.columns), strict=True))
