"""Lines of recordings: reading files, the receive time of each line, and merging files by it.

A line of a raw capture begins with its receive time in nanoseconds and a space. A line of this project's own is a JSON object that
says when it was received or, without that, when it happened. A line with neither keeps its place behind the line before it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from ingest.messages.kinds import MAX_TIME_MS, Message, SocialPost
from ingest.messages.refusal import Reason

POST = "social"  # the kind of a SocialPost in Parsed, counts and reports; in a log, "post" is the kind of a scored post
MAX_LINE = 16 * 2**20  # bytes; a longer line is read as several, each is refused, and so no file can fill the memory
_GZIP = b"\x1f\x8b"
_STAMP_DIGITS = 19
NS_PER_MS = 1_000_000


class Line(NamedTuple):
    """One line (or row) of a recording."""

    source: str  # name of the file, without its folder
    number: int  # counted from 1
    received_ns: int  # when it was received, in nanoseconds since the epoch
    data: bytes  # without the end of the line
    stamped: bool  # whether ``data`` begins with the receive time

    @property
    def received_ms(self) -> int:
        """Receive time in milliseconds, rounded up, because a message is not known before it was received."""
        return -(-self.received_ns // NS_PER_MS)


class Rejected(NamedTuple):
    """A refused line, and why it was refused."""

    line: Line
    reason: Reason
    detail: str


class Parsed(NamedTuple):
    """A message of a recording. Its kind is ``book``, ``trade`` or ``gap`` (as in ``messages.KIND``), or `POST`."""

    kind: str
    message: Message | SocialPost


Output = Parsed | Rejected


class _Times(msgspec.Struct):
    timestamp: int = 0
    received: int | None = None


_times = msgspec.json.Decoder(_Times, strict=False).decode


def read_lines(path: Path, limit: int | None = None) -> Iterator[Line]:
    """Yield the first ``limit`` lines of a file without empty lines. Its first bytes tell whether it is gzip.

    A gzip file that is cut off or damaged gives the lines before the damage, then an empty line that every parser refuses.
    """
    with open(path, "rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
        yield from islice(_lines(path.name, stream), limit)


def _lines(source: str, stream: IO[bytes]) -> Iterator[Line]:
    number = last_ns = 0
    while True:
        number += 1
        try:
            data = stream.readline(MAX_LINE)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            yield Line(source, number, last_ns, b"", False)
            return
        if not data:
            return
        data = data.rstrip(b"\r\n")
        if not data:
            continue
        stamp = _stamp(data)
        last_ns = stamp or _own_time(data) or last_ns
        yield Line(source, number, last_ns, data, bool(stamp))


def _stamp(data: bytes) -> int:
    """Return the receive time at the beginning of a raw line, 0 if there is none or it is impossible."""
    text, space, _ = data[: _STAMP_DIGITS + 1].partition(b" ")
    stamp = int(text) if space and text.isdigit() else 0
    return stamp if stamp <= MAX_TIME_MS * NS_PER_MS else 0


def _own_time(data: bytes) -> int:
    if data[:1] != b"{":
        return 0
    try:
        times = _times(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    time_ms = times.received if times.received is not None else times.timestamp
    return time_ms * NS_PER_MS if 0 < time_ms <= MAX_TIME_MS else 0


def merge_files(paths: Sequence[Path], limit: int | None = None) -> Iterator[Line]:
    """Yield the lines of all files by receive time. Lines of one file keep their order."""
    return merge(*(read_lines(path, limit) for path in paths), key=lambda line: line.received_ns)
