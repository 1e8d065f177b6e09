"""Recordings into the streams, as fast as they are read or at a multiple of real time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import redis

from ingest.messages.kinds import SocialPost
from ingest.publish.counts import Counts
from ingest.publish.sink import PATIENCE_S, Sink
from ingest.recordings.columns import COMMON, GivenColumns
from ingest.recordings.lines import Output, Parsed
from ingest.recordings.recording import Recording
from ingest.replay.shift import shift_to_end_at, shifted
from ingest.settings import Settings

REPORT_EVERY = 1000
"""Lines between two calls of ``progress``."""


def replay(
    paths: Sequence[str | Path],
    client: redis.Redis,
    settings: Settings,
    *,
    speed: float = 0.0,
    rebase: str | None = None,
    limit: int | None = None,
    columns: GivenColumns = COMMON,
    progress: Callable[[Counts], None] | None = None,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Counts:
    """Publish recordings: posts first, then the market by receive time, then a tick that ends each symbol.

    Everything is marked as recorded: its own receive times count as the clock's. The same files give the same messages.

    Parameters
    ----------
    paths:
        Raw Binance captures, JSON lines of our messages, posts as Parquet or CSV; text may be gzipped.
    speed:
        0 as fast as it goes, 1 in real time, by receive time.
    rebase:
        ``now`` moves all times so that the recording ends when its replay does, at most a grid interval before.
    limit:
        Lines (or rows) read of each file.
    columns:
        Names of the posts' columns where they are not the common ones.
    progress:
        Called now and then with the counts so far.
    patience_s:
        How long a scorer or a worker may make no progress.
    clock, sleep:
        Seconds since the epoch, and waiting; injected for tests.

    Raises
    ------
    ingest.publish.sink.NotReadError
        Posts are not scored, or the logs are full and nobody reads them.
    ingest.recordings.rows.TableFileError, OSError
        A file cannot be read.
    """
    if rebase not in (None, "now"):
        raise ValueError(f"rebase={rebase!r}: must be 'now' or None")
    recording = _recording(paths, settings, columns, limit)
    shift_ms = _rebase(_recording(paths, settings, columns, limit), settings, speed, clock()) if rebase else 0
    counts = Counts()
    sink = Sink(client, settings, counts, patience_s=patience_s)
    pace = _Pace(speed, clock, sleep, sink.flush)

    reported = 0

    def take(output: Output) -> None:
        nonlocal reported
        if isinstance(output, Parsed):
            if not isinstance(output.message, SocialPost):
                pace.wait(getattr(output.message, "received", None) or output.message.timestamp)
            shifted(output.message, shift_ms)
        sink.take(output)
        counts.lines, counts.ignored = recording.lines, recording.ignored
        if progress is not None and recording.lines >= reported + REPORT_EVERY:
            reported = recording.lines
            progress(counts)

    for output in recording.posts():
        take(output)
    if counts.published["social"]:
        sink.wait_for_scores()
    for output in recording.market():
        take(output)
    sink.end()
    counts.lines, counts.ignored = recording.lines, recording.ignored
    if progress is not None:
        progress(counts)
    return counts


def _recording(paths: Sequence[str | Path], settings: Settings, columns: GivenColumns, limit: int | None) -> Recording:
    return Recording([Path(p) for p in paths], limit, columns, settings.max_future_ms)


def _rebase(recording: Recording, settings: Settings, speed: float, now_s: float) -> int:
    """The shift with which the recording ends when its replay does; the files are read once for it.

    A replay slower than real time begins now instead: nothing may come from the future.
    """
    events = Counts()
    first = last = 0
    for stage in (recording.posts(), recording.market()):
        for output in stage:
            if isinstance(output, Parsed):
                events.add(*output)
                received = getattr(output.message, "received", None) or output.message.timestamp
                if output.kind != "social":
                    first, last = min(first or received, received), max(last, received)
                elif not events.last_ms:
                    events.first_ms = max(events.first_ms, output.message.timestamp)
    end_ms = events.last_ms or events.first_ms
    duration_ms = (last - first) / max(speed, 1.0) if speed else 0.0
    return shift_to_end_at(end_ms, int(now_s * 1000 + duration_ms), settings.emit_interval_ms)


class _Pace:
    """Holds messages back until their time at a multiple of real time; 0 holds nothing back."""

    def __init__(
        self, speed: float, clock: Callable[[], float], sleep: Callable[[float], None], flush: Callable[[], None]
    ) -> None:
        self._speed = speed
        self._clock = clock
        self._sleep = sleep
        self._flush = flush
        self._start: tuple[float, int] | None = None

    def wait(self, received_ms: int) -> None:
        """Return when a message that was received then is due."""
        if not self._speed:
            return
        if self._start is None:
            self._start = (self._clock(), received_ms)
        began, first_ms = self._start
        ahead = began + (received_ms - first_ms) / 1000 / self._speed - self._clock()
        if ahead > 0:
            self._flush()
            self._sleep(ahead)
