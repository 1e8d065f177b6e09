"""Posts from Parquet and CSV files, a row a post.

Columns are found by the names that such files commonly use. A row without an id gets one that is made from its content, so it is
the same every time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from ingest.messages.check import check_header
from ingest.messages.kinds import SocialPost
from ingest.messages.posts import PostFields, flag, read_post
from ingest.messages.refusal import Reason, Refused
from ingest.recordings.columns import COMMON, POST_FILE, GivenColumns, first_present, what_else
from ingest.recordings.lines import POST, Line, Output, Parsed, Rejected
from ingest.recordings.rows import Row, TableFileError, read_rows, time_us

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


def check_columns(path: Path, columns: GivenColumns = COMMON) -> None:
    """Raise ``TableFileError`` as `read_posts`, without reading rows."""
    _find_columns(path.name, read_rows(path)[0], columns)


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
    """Return the post of a row. A file's times have any unit, its source may be its name, and an id may be made."""
    fields = {name: value for name, value in row.items() if value is not None}
    for name in ("timestamp", "received", "observed_at"):
        us = time_us("time" if name == "timestamp" else name, row.get(name))
        fields[name] = None if us is None else us // 1000
    text = fields.setdefault("text", "")
    source = fields["source"] = fields.get("source") or stem
    is_deleted = flag("deleted", fields.get("deleted"))
    if not is_deleted:
        if text == "":
            raise Refused(Reason.MISSING_FIELD, "no text")
        if fields["timestamp"] is None:
            raise Refused(Reason.MISSING_FIELD, "no time")
    if fields.get("symbols") == []:
        del fields["symbols"]
    for name in ("text", "source", "author", "id"):
        try:
            str(fields.get(name, "")).encode()
        except UnicodeEncodeError:
            raise Refused(Reason.UNDECODABLE, f"{name} is not UTF-8") from None
    if fields.get("id", "") == "" and not is_deleted:
        author = fields.get("author") or None
        told = f"{source}\0{author}\0{fields['timestamp']}\0{text}"
        fields["id"] = blake2b(told.encode(), digest_size=12).hexdigest()
    post = read_post(PostFields(**fields))
    if post.received is None:
        post.received = post.timestamp
    check_header("-", post.timestamp * 1000, post.received, max_future_ms)
    return post
