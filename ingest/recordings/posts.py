"""Posts from Parquet and CSV files, a row a post.

Columns are found by the names that such files commonly use. A row without an id gets one that is made from its content, so it is
the same every time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

from ingest.messages.check import check_header
from ingest.messages.kinds import MAX_INTEGER, SocialPost
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.columns import COMMON, POST_FILE, GivenColumns, first_present, what_else
from ingest.recordings.lines import POST, Line, Output, Parsed, Rejected
from ingest.recordings.rows import Row, TableFileError, read_rows, time_ms

_OPTION_OF_REQUIRED = {"text": "--text-column", "timestamp": "--time-column"}


def read_posts(
    path: Path, max_future_ms: int, columns: GivenColumns = COMMON, limit: int | None = None
) -> Iterator[Output]:
    """Yield the posts of the first ``limit`` rows in the file's order; a refused row is kept as JSON.

    Raise ``TableFileError`` if the file is no Parquet file, or has no column of texts, of times, or of a given name.
    """
    names, rows = read_rows(path)
    found = _find_columns(path.name, names, columns)
    for number, row in enumerate(islice(rows, limit), 1):
        try:
            yield Parsed(POST, _parse(path.stem, {f: row.get(name) for f, name in found.items()}, max_future_ms))
        except Refused as refused:
            data = json.dumps(row, default=str, ensure_ascii=False).encode("utf-8", "surrogatepass")
            yield Rejected(Line(path.name, number, 0, data, False), refused.reason, refused.detail)


def _find_columns(file: str, names: Sequence[str], columns: GivenColumns) -> dict[str, str]:
    """Return the column of each field that the file has."""
    found = {}
    for field, common in POST_FILE.items():
        given = getattr(columns, field, None)
        if given is not None and given not in names:
            raise TableFileError(f"{file} has no column {given!r}; it has {', '.join(map(repr, names))}")
        name = given or first_present(common, names)
        if name is not None:
            found[field] = name
        elif option := _OPTION_OF_REQUIRED.get(field):
            if what := what_else(names):
                raise TableFileError(f"{file} is not read: it seems to hold {what}")
            neither = "holds no trades (price, size), no books (bids, asks), and " if field == "text" else ""
            raise TableFileError(f"{file} {neither}has no column with a common name of {field}s; name it with {option}")
    return found


def _parse(stem: str, row: Row, max_future_ms: int) -> SocialPost:
    text = row["text"]
    if text is None or text == "":
        raise Refused(Reason.MISSING_FIELD, "no text")
    if not isinstance(text, str):
        raise Refused(Reason.WRONG_TYPE, f"text is {type(text).__name__}")
    timestamp = time_ms("time", row["timestamp"])
    if timestamp is None:
        raise Refused(Reason.MISSING_FIELD, "no time")
    received = time_ms("received", row.get("received"))
    if received is None:
        received = timestamp
    check_header("-", timestamp, received, max_future_ms)
    source, author, given_id = _name(row.get("source")) or stem, _name(row.get("author")), _name(row.get("id"))
    for name, value in (("text", text), ("source", source), ("author", author), ("id", given_id)):
        try:
            (value or "").encode()
        except UnicodeEncodeError:
            raise Refused(Reason.UNDECODABLE, f"{name} is not UTF-8") from None
    made_id = blake2b(f"{source}\0{author}\0{timestamp}\0{text}".encode(), digest_size=12).hexdigest()
    return SocialPost(
        timestamp,
        given_id or made_id,
        text,
        source,
        author,
        likes=_count("likes", row),
        reposts=_count("reposts", row),
        replies=_count("replies", row),
        followers=_count("followers", row),
        observed_at=time_ms("observed_at", row.get("observed_at")),
        symbols=_symbols(row.get("symbols")),
        received=received,
    )


def _name(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _symbols(value: Any) -> list[str] | None:
    """Return the symbols of a list, or of text with commas or spaces between; None if there are none."""
    names = value if isinstance(value, list) else str(value or "").replace(",", " ").split()
    return [str(name) for name in names] or None


def _count(name: str, row: Row) -> int | None:
    value = row.get(name)
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise Refused(Reason.WRONG_TYPE, f"{name} {value!s:.40} is not a number") from None
    if not (number.is_integer() and abs(number) < MAX_INTEGER):
        raise Refused(Reason.OUT_OF_RANGE, f"{name} {value!s:.40} is not a count")
    return int(number)
