"""Lines of recordings: reading files, the receive time of each line, and merging files by it.

A line of a raw capture begins with its receive time and a space. The time is in nanoseconds, microseconds or milliseconds, which its size
tells, or in seconds with a colon, as cryptofeed writes it. cryptofeed's lines of connections and of REST answers are read too::

    1723161255030314667 {"stream":"btcusdt@trade","data":{...}}
    1626992741.06217: {"stream":"btcusdt@trade","data":{...}}
    wss://fstream.binance.com/stream?streams=btcusdt@trade <-> 1626992740.179554
    https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=1000 -> 1626992741.309822: {"lastUpdateId":...}

A line of this project's own is a JSON object that says when it was received or, without that, when it happened. A line with neither keeps
its place behind the line before it.
"""

from __future__ import annotations

import re
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
_SECONDS = re.compile(rb"(\d{9,10})(?:\.(\d{1,9}))?: ")
_CONNECTION = re.compile(rb"wss?://\S+ <->? (\d{9,10})(?:\.(\d{1,9}))?(?:$|: )")
_ANSWER = re.compile(rb"https?://\S*?(?:[?&]symbol=([\w%.-]{1,64})\S*)? -> (\d{9,10})(?:\.(\d{1,9}))?: (?=\{)")
_NANO_FROM, _MICRO_FROM, _MILLI_FROM = 10**17, 10**14, 10**11
"""Times of our age are as large in each unit; none of 2009 or later is between two of them."""
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
        Whether a row was read: it gave a message, repeats one, or is a snapshot.
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
        if data[:1] in (b"h", b"w"):
            data = _of_cryptofeed(data)
        stamp = stamp_of(data)
        last_ns = stamp or _own_time(data) or last_ns
        yield Line(source, number, last_ns, data, bool(stamp), file)


def stamp_of(data: bytes) -> int:
    """Return the receive time at the beginning of a raw line in nanoseconds, 0 if there is none or it is impossible.

    >>> stamp_of(b"1723161255030314 {}"), stamp_of(b"1626992741.06217: {}"), stamp_of(b"{}")
    (1723161255030314000, 1626992741062170000, 0)
    """
    text, space, _ = data[: _STAMP_DIGITS + 1].partition(b" ")
    if not (space and text.isdigit()):
        found = _SECONDS.match(data)
        return _ns(found[1], found[2]) if found else 0
    stamp = int(text)
    if stamp < _NANO_FROM:
        stamp *= NS_PER_US if stamp >= _MICRO_FROM else NS_PER_MS if stamp >= _MILLI_FROM else 1
    return stamp if stamp <= MAX_TIME_MS * NS_PER_MS else 0


def _ns(seconds: bytes, fraction: bytes | None) -> int:
    return int(seconds) * 10**9 + int((fraction or b"0").ljust(9, b"0"))


def _of_cryptofeed(data: bytes) -> bytes:
    """Return a line of cryptofeed about a connection, or with an answer of REST, as a raw line; an answer that names no symbol gets it."""
    if found := _CONNECTION.match(data):
        return b'%d {"e":"connection"}' % _ns(found[1], found[2])
    if not (found := _ANSWER.match(data)):
        return data
    body = data[found.end() :]
    named = b"{" if found[1] is None or b'"symbol"' in body else b'{"symbol":"%s",' % found[1]
    return b"%d %s%s" % (_ns(found[2], found[3]), named, body[1:])


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
