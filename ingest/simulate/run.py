"""Publish the simulated market: history as a recording, as fast as possible, then live messages in real time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from ingest.messages.kinds import LIQUIDATION_CHANNEL, Gap
from ingest.publish.counts import Counts
from ingest.publish.publisher import Publisher
from ingest.publish.sink import PATIENCE_S, Sink
from ingest.recordings.lines import POST
from ingest.recordings.venue_clock import Pace
from ingest.settings import Settings
from ingest.simulate.history import MARKET, SYMBOLS, history, live
from ingest.streams import keys
from ingest.worker.neighbours import Leaders
from ingest.worker.partition import Partition
from ingest.worker.timeline import RANK

REPORT_EVERY = 1000
"""Messages between two calls of ``progress``."""


def simulate(
    client: redis.Redis,
    settings: Settings,
    *,
    symbols: Sequence[str] = SYMBOLS,
    seconds: float | None = 0,
    history_ms: int = 0,
    seed: int = 0,
    progress: Callable[[Counts], None] | None = None,
    stop: threading.Event | None = None,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], object] = time.sleep,
) -> Counts:
    """Publish the last ``history_ms`` as recorded, posts first, and then ``seconds`` in real time.

    The history begins no earlier than an earlier run ended for these symbols, and the live part begins where the history ends. Without
    a live part a tick ends each symbol. With one, time passes by the clock of the simulated venue, and its feed is lost at the end.

    Parameters
    ----------
    symbols, seed
        See ``history``.
    seconds : float or None
        Length of the live part; None continues until ``stop`` is set or the program is interrupted.
    history_ms : int
        Length of the history.
    progress : callable or None
        Called now and then with the counts so far.
    stop : threading.Event or None
        Once set, the live part ends.
    patience_s : float
        How long a scorer or a worker may make no progress.
    clock, sleep : callable
        Return seconds since the epoch, and wait; injected for tests.

    Raises
    ------
    ingest.publish.readers.NotReadError
        Posts are not scored, or the logs are full and no worker reads them.
    """
    counts = Counts()
    sink = Sink(client, settings, counts, patience_s=patience_s, leaders=Leaders(settings).accept)
    grid = settings.emit_interval_ms
    now_ms = int(clock() * 1000) // grid * grid

    start_ms = min(resume(client, settings, symbols, now_ms - history_ms), now_ms)

    def report() -> None:
        if progress is not None and counts.published.total() % REPORT_EVERY == 0:
            progress(counts)

    for kinds in ((POST,), MARKET):
        for kind, message in history(start_ms, now_ms, symbols=symbols, seed=seed, kinds=kinds):
            sink.publish(kind, message, recorded=True)
            report()
        if POST in kinds and counts.published[POST]:
            sink.wait_for_scores()
    if seconds == 0:
        sink.end()
        return counts
    sink.flush()
    until = None if seconds is None else now_ms + round(seconds * 1000)

    def pause(for_s: float) -> None:
        sink.flush()
        sleep(for_s)

    try:
        due = Pace.of(settings)
        messages = live(now_ms, until, symbols=symbols, seed=seed, pace=due, stop=stop, clock=clock, sleep=pause)
        for kind, event in messages:
            sink.publish(kind, event, recorded=False)
            report()
    finally:
        sink.flush()
    return counts


def resume(client: redis.Redis, settings: Settings, symbols: Sequence[str], start_ms: int) -> int:
    """Return the time from which a simulation continues: ``start_ms``, or later if the symbols' checkpoints reach a later time.

    So no message is late or a repeat. After an earlier feed gaps are published for each symbol: its book is unknown until the next one, and
    liquidations may be missing until then.
    """
    known_ms = _known_until_ms(client, settings, symbols)
    at_ms = max(start_ms, known_ms)
    if known_ms:
        with Publisher(client, settings.partitions, configured=settings.configured) as publisher:
            for symbol in symbols:
                publisher.publish("gap", Gap(at_ms, symbol, received=at_ms), recorded=True)
                missed = Gap(at_ms, symbol, received=at_ms, channel=LIQUIDATION_CHANNEL)
                publisher.publish("gap", missed, recorded=True)
    return at_ms


def _known_until_ms(client: redis.Redis, settings: Settings, symbols: Sequence[str]) -> int:
    until_us = 0
    for symbol in symbols:
        p = keys.partition_of(symbol, settings.partitions)
        partition = Partition(p, settings)
        saved: Any = client.hgetall(keys.checkpoint(p))
        partition.restore(saved)
        if symbol in partition.symbols:
            timeline = partition.symbols[symbol].timeline
            until_us = max(
                until_us, timeline.watermark, *(t_us + 1 for t_us, rank, *_ in timeline.held if rank < RANK["post"])
            )
    return -(-until_us // 1000)
