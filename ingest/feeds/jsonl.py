"""JSON lines of this project's messages as a live feed: a file, or a pipe from any program."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from ingest.publish.outlet import Outlet
from ingest.recordings import own
from ingest.recordings.lines import MAX_LINE, Line

CHUNK_BYTES = 1 << 16


class Chunks(Protocol):
    """A stream of bytes. Each call returns what is there, at least a byte, or nothing at the end."""

    def read1(self, size: int, /) -> bytes:
        """At most ``size`` bytes."""


def publish_lines(
    stream: Chunks, source: str, outlet: Outlet, max_future_ms: int, *, clock_ns: Callable[[], int] = time.time_ns
) -> None:
    """Publish each line as soon as it is there, until the stream ends or ``outlet.stop`` is set.

    A message without a receive time counts as received now.
    """
    number = 0
    for batch in _lines(stream):
        lines = [Line(source, number + i, clock_ns(), data, False) for i, data in enumerate(batch, 1)]
        number += len(lines)
        outlet.counts.lines = number
        outlet.write([own.parse(line, max_future_ms, received_ms=line.received_ms) for line in lines])
        if outlet.stop.is_set():
            return


def _lines(stream: Chunks) -> Iterator[list[bytes]]:
    """Yield whole lines as they come. A line longer than ``MAX_LINE`` is cut, and each part is refused."""
    rest = b""
    while chunk := stream.read1(CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE:
            lines, rest = [*lines, rest], b""
        if whole := [line.rstrip(b"\r") for line in lines if line.strip()]:
            yield whole
    if rest.strip():
        yield [rest]
