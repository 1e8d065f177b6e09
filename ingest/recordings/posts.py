"""Posts from Parquet and CSV files, a row a post; columns are found by the names that such files commonly use.

Times are timestamps, ISO 8601 text (UTC where it names no zone), or seconds, milliseconds, microseconds or nanoseconds since the epoch,
told by their size. A row without an id gets one made from its content, the same every time.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.stores.errors import UserError
from ingest.messages.check import check_header
from ingest.messages.kinds import SocialPost
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.columns import COMMON, POST_FILE, GivenColumns, first_present
from ingest.recordings.lines import Line, Output, Parsed, Rejected
from transforms.times import ms_of_datetime

SUFFIXES = (".parquet", ".csv")
_REQUIRED = ("text", "timestamp")
_LARGEST = 2**63
_MS_MAX = 10**14
"""A time of our age in seconds has 10 digits, each finer unit three more: the first unit that is not past this is meant."""
_BATCH = 1024


class PostsFileError(UserError, ValueError):
    """A file of posts cannot be read, lacks a column, or has none of the name given."""


def read_posts(
    path: Path, max_future_ms: int, columns: GivenColumns = COMMON, limit: int | None = None
) -> Iterator[Output]:
    """The posts in the first ``limit`` rows, in the file's order; refused rows are given as JSON.

    Raises
    ------
    PostsFileError
        It is no Parquet file, there is no column of texts or of times, or none of a name that was given.
    """
    names, rows = parquet_rows(path) if path.suffix == ".parquet" else csv_rows(path)
    found = _find(path.name, names, columns)
    for number, row in enumerate(islice(rows, limit), 1):
        try:
            yield Parsed("social", _post(path.stem, {f: row.get(name) for f, name in found.items()}, max_future_ms))
        except Refused as refused:
            data = json.dumps(row, default=str, ensure_ascii=False).encode("utf-8", "surrogatepass")
            yield Rejected(Line(path.name, number, 0, data, False), refused.reason, refused.detail)


def parquet_rows(path: Path) -> tuple[Sequence[str], Iterator[Mapping[str, Any]]]:
    """The names of the columns of a Parquet file, and its rows.

    Raises
    ------
    PostsFileError
        It is none.
    """
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise PostsFileError(f"{path.name}: {error}") from None
    rows = (row for batch in file.iter_batches(_BATCH) for row in _rows(batch))
    return file.schema_arrow.names, rows


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    """Rows of a record batch; timestamps as nanoseconds, which Python's own datetimes would cut."""
    columns = []
    for column in batch.columns:
        kind = str(column.type)
        if kind.startswith("timestamp"):
            unit = kind[len("timestamp[") :].partition("]")[0].partition(",")[0]
            scale = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}[unit]
            columns.append([v if v is None else _Nanoseconds(v * scale) for v in column.cast("int64").to_pylist()])
        else:
            columns.append(column.to_pylist())
    for values in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, values, strict=True))


class _Nanoseconds(int):
    """A number whose unit is known."""


def csv_rows(path: Path) -> tuple[Sequence[str], Iterator[Mapping[str, Any]]]:
    """The names of the columns of a CSV file, and its rows as text; a damaged row has one nameless field."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        names = next(csv.reader(file), [])
    return names, _csv_dicts(path)


def _csv_dicts(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        rows = csv.DictReader(file, restkey="")
        while True:
            try:
                yield next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield {"": str(error)}


def _find(file: str, names: Sequence[str], columns: GivenColumns) -> dict[str, str]:
    """The column of each field that the file has."""
    found = {}
    for field, common in POST_FILE.items():
        given = getattr(columns, field, None)
        if given is not None and given not in names:
            raise PostsFileError(f"{file} has no column {given!r}; it has {', '.join(map(repr, names))}")
        name = given or first_present(common, names)
        if name is not None:
            found[field] = name
        elif field in _REQUIRED:
            option = {"text": "--text-column", "timestamp": "--time-column"}[field]
            neither = "holds no trades (price, size), no books (bids, asks), and " if field == "text" else ""
            raise PostsFileError(
                f"{file} {neither}has no column of {field}s that is known by its name: say which with {option}"
            )
    return found


def _post(stem: str, row: Mapping[str, Any], max_future_ms: int) -> SocialPost:
    text = row["text"]
    if text is None or text == "":
        raise Refused(Reason.MISSING_FIELD, "no text")
    if not isinstance(text, str):
        raise Refused(Reason.WRONG_TYPE, f"text is {type(text).__name__}")
    timestamp = time_ms("time", row["timestamp"])
    if timestamp is None:
        raise Refused(Reason.MISSING_FIELD, "no time")
    received = time_ms("received", row.get("received"))
    check_header("-", timestamp, timestamp if received is None else received, max_future_ms)
    source, author, given_id = _name(row.get("source")) or stem, _name(row.get("author")), _name(row.get("id"))
    for name, value in (("text", text), ("source", source), ("author", author), ("id", given_id)):
        if value and not _is_text(value):
            raise Refused(Reason.UNDECODABLE, f"{name} is not UTF-8")
    made = blake2b(f"{source}\0{author}\0{timestamp}\0{text}".encode(), digest_size=12).hexdigest()
    return SocialPost(
        timestamp,
        given_id or made,
        text,
        source,
        author,
        likes=_count("likes", row.get("likes")),
        reposts=_count("reposts", row.get("reposts")),
        replies=_count("replies", row.get("replies")),
        followers=_count("followers", row.get("followers")),
        observed_at=time_ms("observed_at", row.get("observed_at")),
        symbols=_symbols(row.get("symbols")),
        received=timestamp if received is None else received,
    )


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _symbols(value: Any) -> list[str] | None:
    """Symbols from a list, or from text with commas or spaces between; None where there are none."""
    names = value if isinstance(value, list) else str(value or "").replace(",", " ").split()
    return [str(name) for name in names] or None


def _count(name: str, value: Any) -> int | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise Refused(Reason.WRONG_TYPE, f"{name} {value!s:.40} is not a number") from None
    if not (number.is_integer() and abs(number) < _LARGEST):
        raise Refused(Reason.OUT_OF_RANGE, f"{name} {value!s:.40} is not a count")
    return int(number)


def time_ms(name: str, value: Any) -> int | None:
    """A time of a table in milliseconds since the epoch, None where there is nothing.

    Raises
    ------
    Refused
        It is no time, or none that can be; ``name`` says in it which.
    """
    if value is None or value == "":
        return None
    if isinstance(value, _Nanoseconds):
        return int(value) // 10**6
    if isinstance(value, datetime):
        return _milliseconds(value)
    try:
        number = Decimal(value if isinstance(value, int) else str(value).strip())
    except InvalidOperation:
        try:
            return _milliseconds(datetime.fromisoformat(str(value).strip()))
        except (ValueError, OverflowError):
            raise Refused(Reason.WRONG_TYPE, f"{name} {value!s:.40} is no time") from None
    if not number.is_finite():
        raise Refused(Reason.NOT_FINITE, f"{name} {value!s:.40}")
    if not 0 < number < _LARGEST:
        raise Refused(Reason.OUT_OF_RANGE, f"{name} {value!s:.40}")
    for unit_ms in (Decimal(1000), Decimal(1), Decimal("1e-3")):
        if number * unit_ms < _MS_MAX:
            return int(number * unit_ms)
    return int(number * Decimal("1e-6"))


def _milliseconds(value: datetime) -> int:
    return ms_of_datetime(value if value.tzinfo else value.replace(tzinfo=UTC))
