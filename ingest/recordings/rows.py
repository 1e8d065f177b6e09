"""Rows of Parquet and CSV files, and the times in them.

A time is a timestamp, ISO 8601 text (UTC if it names no zone), or a number of seconds, milliseconds, microseconds or nanoseconds
since the epoch. The size of the number tells its unit.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.stores.errors import UserError
from ingest.messages.kinds import MAX_INTEGER
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.files import DAMAGE, is_damage, is_parquet, open_text
from transforms.times import us_of_datetime, us_of_iso

# a present time has 10 digits in seconds and three more in each finer unit: the first unit that gives less than this is meant
_US_MAX = 10**17
_US_OF_UNIT = (Decimal(10**6), Decimal(1000), Decimal(1))
_US_OF_NS = Decimal("1e-3")
_NS_PER_US = 1000
_NS_OF_UNIT = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_BATCH = 1024
DELIMITERS = ",;\t"
_FIRST_CHARS = 65_536  # of the first line

Row = Mapping[str, Any]


class TableFileError(UserError, ValueError):
    """A file cannot be read, or lacks a column that is needed or named."""


class _Nanoseconds(int):
    """A timestamp, so its size does not have to tell its unit."""


def read_rows(path: Path) -> tuple[Sequence[str], Iterator[Row]]:
    """Return the names of the columns of a file and its rows. A damaged row of a CSV file has one field without a name.

    Raise ``TableFileError`` if it is named ``.parquet`` and is no Parquet file, or is a CSV file without a first row of names.
    """
    if not is_parquet(path):
        names = _csv_names(path)
        return names, _csv_rows(path, names)
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise TableFileError(f"{path.name}: {error}") from None
    return file.schema_arrow.names, (row for batch in file.iter_batches(_BATCH) for row in _batch_rows(batch))


def _batch_rows(batch: Any) -> Iterator[Row]:
    """Yield rows with timestamps as nanoseconds, because Python's datetimes cut them to microseconds."""
    columns = []
    for column in batch.columns:
        if pa.types.is_timestamp(column.type):
            scale = _NS_OF_UNIT[column.type.unit]
            columns.append([v if v is None else _Nanoseconds(v * scale) for v in column.cast("int64").to_pylist()])
        else:
            columns.append(column.to_pylist())
    for values in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, values, strict=True))


def _csv_names(path: Path) -> Sequence[str]:
    with _open_csv(path, errors="replace") as file:
        try:
            names = [name.strip() for name in next(csv.reader(file, delimiter=_delimiter(path)), [])]
        except (csv.Error, *DAMAGE) as error:
            raise TableFileError(f"{path.name}: its first row cannot be read: {error}") from None
    if len(names) > 1 and all(map(_is_number, names)):
        raise TableFileError(
            f"{path.name} has no row of names: its first row is {','.join(names):.80}; write the names above it"
        )
    return names


def _csv_rows(path: Path, names: Sequence[str]) -> Iterator[Row]:
    with _open_csv(path, errors="surrogateescape") as file:
        rows = csv.DictReader(file, names, restkey="", delimiter=_delimiter(path))
        next(rows, None)
        while True:
            try:
                yield next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield {"": str(error)}
            except DAMAGE as error:
                if not is_damage(error):
                    raise
                yield {"": f"the file is damaged here: {error}"}
                return


def delimiter_of(text: str) -> str:
    """Return the sign between the cells of a table, by its first line: comma, semicolon or tab."""
    first = text.partition("\n")[0]
    return next((sign for sign in DELIMITERS if sign in first), ",")


def _delimiter(path: Path) -> str:
    with _open_csv(path, errors="replace") as file:
        try:
            return delimiter_of(file.readline(_FIRST_CHARS))
        except DAMAGE:
            return ","  # reading tells the damage


def _open_csv(path: Path, errors: str) -> TextIOWrapper:
    return TextIOWrapper(open_text(path), encoding="utf-8-sig", errors=errors, newline="")


def _is_number(text: str) -> bool:
    """Return whether a field of the first row is a number or a truth, so that it cannot be a name.

    >>> [_is_number(text) for text in ("60000.1", "-1", "True", "price", "")]
    [True, True, True, False, False]
    """
    try:
        return text in ("True", "False", "true", "false") or math.isfinite(float(text))
    except ValueError:
        return False


def time_us(name: str, value: Any) -> int | None:
    """Return a time in microseconds since the epoch, None for an empty value.

    Raise ``Refused`` if it is no time, or an impossible one; the detail says ``name``.
    """
    if value is None or value == "":
        return None
    if isinstance(value, _Nanoseconds):
        return int(value) // _NS_PER_US
    if isinstance(value, datetime):
        return us_of_datetime(value if value.tzinfo else value.replace(tzinfo=UTC))
    try:
        number = Decimal(value if isinstance(value, int) else str(value).strip())
    except InvalidOperation:
        try:
            return us_of_iso(str(value))
        except (ValueError, OverflowError):
            raise Refused(Reason.WRONG_TYPE, f"{name} {value!s:.40} is no time") from None
    if not number.is_finite():
        raise Refused(Reason.NOT_FINITE, f"{name} {value!s:.40}")
    if not 0 < number < MAX_INTEGER:
        raise Refused(Reason.OUT_OF_RANGE, f"{name} {value!s:.40}")
    for unit_us in _US_OF_UNIT:
        if number * unit_us < _US_MAX:
            return int(number * unit_us)
    return int(number * _US_OF_NS)
