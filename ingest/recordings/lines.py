"""Lines of recordings: reading files, the receive time of each line, and merging files by it.

A line of a raw capture begins with its receive time in nanoseconds and a space. A line of this project's own is a JSON object that
says when it was received or, without that, when it happened. A line with neither keeps its place behind the line before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from ingest.messages.kinds import MAX_TIME_MS, MAX_TIME_US, Message, SocialPost, time_us
from ingest.messages.refusal import Reason
from ingest.recordings.files import DAMAGE, is_damage, open_text

POST = "social"  # the kind of a SocialPost in Parsed, counts and reports; in a log, "post" is the kind of a scored post
MAX_LINE = 16 * 2**20  # bytes; a longer line is read as several, each is refused, and so no file can fill the memory
_STAMP_DIGITS = 19
NS_PER_MS = 1_000_000
NS_PER_US = 1000


REASONS_SHOWN = 3  # of a file of which nothing could be read


@dataclass(slots=True)
class SourceFile:
    """What is known of a file beside its lines.

    Attributes
    ----------
    prefix : str
        Put before its symbols, so that two venues are two symbols. A header line of our own recorder sets it.
    is_given : bool
        Whether the user gave the prefix: then header lines do not set it.
    symbols : frozenset of str
        The symbols of the file with their prefix. A snapshot that names no symbol belongs to one of them.
    owners : mapping
        For the ``lastUpdateId`` of each such snapshot the symbols that it may belong to, where that is known before the file is read.
    is_read : bool
        Whether a row was read: it gave a message, or repeats one.
    rows : int
        Rows that were parsed, as long as none was read.
    reasons : list of str
        Why the first rows were refused.
    """

    name: str = ""
    prefix: str = ""
    is_given: bool = False
    symbols: frozenset[str] = frozenset()
    owners: Mapping[int, frozenset[str]] = field(default_factory=dict)
    is_read: bool = False
    rows: int = 0
    reasons: list[str] = field(default_factory=list)

    def note_refused(self, reason: Reason, detail: str) -> None:
        """Remember why a row was refused, for the first ones."""
        if (
            len(self.reasons) < REASONS_SHOWN
            and (told := f"{reason}: {detail}" if detail else str(reason)) not in self.reasons
        ):
            self.reasons.append(told)


class Line(NamedTuple):
    """One line (or row) of a recording."""

    source: str  # name of the file, without its folder
    number: int  # counted from 1
    received_ns: int  # when it was received, in nanoseconds since the epoch
    data: bytes  # without the end of the line
    stamped: bool  # whether ``data`` begins with the receive time
    file: SourceFile | None = None  # None for a line of a live feed

    @property
    def prefix(self) -> str:
        """What stands before the symbols of its file."""
        return "" if self.file is None else self.file.prefix

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
    timestamp_us: int | None = None
    received: int | None = None


_times = msgspec.json.Decoder(_Times, strict=False).decode


def read_lines(path: Path, limit: int | None = None, file: SourceFile | None = None) -> Iterator[Line]:
    """Yield the first ``limit`` lines of a file without empty lines, unpacked as `open_text` does.

    A packed file that is cut off or damaged gives the lines before the damage, then an empty line that every parser refuses.
    """
    with open_text(path) as stream:
        yield from islice(_lines(path.name, stream, file), limit)


def _lines(source: str, stream: IO[bytes], file: SourceFile | None) -> Iterator[Line]:
    number = last_ns = 0
    while True:
        number += 1
        try:
            data = stream.readline(MAX_LINE)
        except DAMAGE as error:
            if not is_damage(error):
                raise
            yield Line(source, number, last_ns, b"", False, file)
            return
        if not data:
            return
        data = data.rstrip(b"\r\n")
        if not data:
            continue
        stamp = _stamp(data)
        last_ns = stamp or _own_time(data) or last_ns
        yield Line(source, number, last_ns, data, bool(stamp), file)


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
    us = time_us(times) if times.received is None else times.received * 1000
    return us * NS_PER_US if 0 < us <= MAX_TIME_US else 0


def merged(files: Iterable[Iterator[Line]]) -> Iterator[Line]:
    """Yield the lines of all files by receive time. Lines of one file keep their order."""
    return merge(*files, key=lambda line: line.received_ns)
