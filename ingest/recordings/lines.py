"""Lines of recordings: where each came from and when it was received, several files merged by receive time.

A line begins with its receive time in nanoseconds and a space (a raw capture), or is a JSON object of ours, which says when it
was received or, failing that, when it happened. A line that says neither keeps its place behind the line before it.
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

MAX_LINE = 16 * 2**20
"""Bytes of a line; a longer one is read as several, each refused for itself, so that no file can fill the memory."""
_GZIP = b"\x1f\x8b"
_STAMP_DIGITS = 19
_NS_PER_MS = 1_000_000


class Line(NamedTuple):
    """One line (or row) of a recording.

    Attributes
    ----------
    source:
        Name of the file, without its folder.
    number:
        From 1.
    received_ns:
        When it was received, nanoseconds since the epoch.
    data:
        The line as it is, without its end.
    stamped:
        Whether ``data`` begins with the receive time.
    """

    source: str
    number: int
    received_ns: int
    data: bytes
    stamped: bool

    @property
    def received_ms(self) -> int:
        """Receive time in milliseconds, rounded up: nothing is known before it was received."""
        return -(-self.received_ns // _NS_PER_MS)


class Rejected(NamedTuple):
    """A line that is not taken, and why."""

    line: Line
    reason: Reason
    detail: str


class Parsed(NamedTuple):
    """A message of a recording: ``book``, ``trade``, ``gap`` (as in ``messages.KIND``) or ``social`` (a ``SocialPost``)."""

    kind: str
    message: Message | SocialPost


Output = Parsed | Rejected


class _Times(msgspec.Struct):
    timestamp: int = 0
    received: int | None = None


_times = msgspec.json.Decoder(_Times, strict=False).decode


def read_lines(path: Path, limit: int | None = None) -> Iterator[Line]:
    """The first ``limit`` lines of a file, gzip or not (told by its first bytes), empty lines left out.

    A gzip file that is cut off or damaged gives the lines before the damage, and an empty line that no parser takes.
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
    """The receive time that a raw line begins with, 0 where it begins with none that can be."""
    text, space, _ = data[: _STAMP_DIGITS + 1].partition(b" ")
    stamp = int(text) if space and text.isdigit() else 0
    return stamp if stamp <= MAX_TIME_MS * _NS_PER_MS else 0


def _own_time(data: bytes) -> int:
    if data[:1] != b"{":
        return 0
    try:
        times = _times(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    time_ms = times.received if times.received is not None else times.timestamp
    return time_ms * _NS_PER_MS if 0 < time_ms <= MAX_TIME_MS else 0


def merge_files(paths: Sequence[Path], limit: int | None = None) -> Iterator[Line]:
    """The lines of all files by receive time; lines of one file stay in its order."""
    return merge(*(read_lines(path, limit) for path in paths), key=lambda line: line.received_ns)
