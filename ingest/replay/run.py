"""Publish recordings to the streams, as fast as they are read or at a multiple of real time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import redis

from ingest.messages.kinds import SocialPost
from ingest.publish.counts import Counts
from ingest.publish.sink import PATIENCE_S, Sink
from ingest.recordings import venue_clock
from ingest.recordings.columns import COMMON, GivenColumns
from ingest.recordings.lines import POST, Output, Parsed
from ingest.recordings.recording import Recording
from ingest.replay.shift import received_ms, shift, shift_to_end_now
from ingest.sentiment.scoring import finder
from ingest.settings import Settings
from ingest.worker.neighbours import Leaders

REPORT_EVERY = 1000
"""Lines between two calls of ``progress``."""


class Pace:
    """Holds messages back until they are due at ``speed`` times real time; 0 holds nothing back.

    ``clock`` and ``sleep`` are in seconds. ``flush`` is called before each wait, so that earlier messages do not wait with it.
    """

    def __init__(
        self, speed: float, clock: Callable[[], float], sleep: Callable[[float], None], flush: Callable[[], None]
    ) -> None:
        self._speed = speed
        self._clock = clock
        self._sleep = sleep
        self._flush = flush
        self._start: tuple[float, int] | None = None

    def wait(self, received_ms: int) -> None:
        """Return when a message that was received at ``received_ms`` is due."""
        if not self._speed:
            return
        if self._start is None:
            self._start = (self._clock(), received_ms)
        began, first_ms = self._start
        ahead = began + (received_ms - first_ms) / 1000 / self._speed - self._clock()
        if ahead > 0:
            self._flush()
            self._sleep(ahead)


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

    Behind a message that finishes a row of a symbol that others follow, that row is published for them.

    All messages are marked as recorded: their receive times take the place of the clock. The same files give the same messages.

    Raise ``NotReadError`` if a scorer or a worker makes no progress for ``patience_s``, ``UserError`` or ``OSError`` if a file cannot be
    read, or if two files are of two markets of one name.

    Parameters
    ----------
    paths : sequence of str or Path
        Raw Binance captures, JSON lines of our messages, or trades, books or posts as Parquet or CSV; text may be gzipped.
    speed : float
        Multiple of real time, by receive time; 0 is as fast as possible.
    rebase : str or None
        ``now`` moves all times so that the recording ends when its replay does, or less than a grid interval before.
    limit : int or None
        Lines (or rows) read of each file.
    """
    if rebase not in (None, "now"):
        raise ValueError(f"rebase={rebase!r}: must be 'now' or None")
    files = [Path(path) for path in paths]
    due = venue_clock.Pace.of(settings)
    recording = Recording(files, limit, columns, settings.max_future_ms, instrument=settings.instrument, pace=due)
    shift_ms = 0
    if rebase:
        read_ahead = Recording(files, limit, columns, settings.max_future_ms, recording.known)
        shift_ms = shift_to_end_now(read_ahead, settings.emit_interval_ms, speed, clock())
    counts = Counts()
    find_symbols = finder(settings).find
    sink = Sink(client, settings, counts, patience_s=patience_s, leaders=Leaders(settings).accept)
    pace = Pace(speed, clock, sleep, sink.flush)
    reported = 0

    def publish(outputs: Iterable[Output]) -> None:
        nonlocal reported
        for output in outputs:
            if isinstance(output, Parsed):
                if not isinstance(output.message, SocialPost):
                    pace.wait(received_ms(output.message))
                shift(output.message, shift_ms)
            sink.write(output)
            if isinstance(output, Parsed) and isinstance(output.message, SocialPost) and output.message.symbols is None:
                sink.remember_symbols(output.message, find_symbols(output.message.text))
            counts.lines, counts.ignored = recording.lines, recording.ignored
            if progress is not None and recording.lines >= reported + REPORT_EVERY:
                reported = recording.lines
                progress(counts)
        counts.lines, counts.ignored = recording.lines, recording.ignored

    publish(recording.posts())
    if counts.published[POST]:
        sink.wait_for_scores()
    publish(recording.market())
    sink.end()
    counts.last_of.update({(symbol, POST): at for symbol, at in sink.post_symbols.items()})
    counts.passed_over, counts.unread = recording.passed_over, recording.unread()
    if progress is not None:
        progress(counts)
    return counts
