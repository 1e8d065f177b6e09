"""What the demo publishes: recordings at their own times, or a simulated market whose last seconds are live."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ingest import settings as conf
from ingest.publish import report
from ingest.publish.counts import Counts
from ingest.publish.sink import Sink
from ingest.recordings.lines import POST
from ingest.run.processes import Processes
from ingest.simulate import history, live
from ingest.simulate.history import Simulated
from ingest.simulate.run import resume
from ingest.streams.backlog import backlog

NEAR_MS = 2000
"""How far from now the simulation may be when it goes live."""
PATIENCE_S = 180.0
"""How long the pipeline may make no progress before the demo gives up."""
SHOWN_EVERY_MS = 10_000
"""Simulated time between two steps of the progress bar."""


class DemoError(RuntimeError):
    """Something was not right; the message says what, and the demo ends with exit code 1."""


def recordings(feed: Feed, paths: Sequence[str]) -> tuple[list[str], tuple[int, int]]:
    """Replay recordings; return their symbols, and their begin and end in µs: the demo reads online as of the end."""
    from ingest.replay import replay

    feed.start_worker()
    with report.live("replay", quiet=False) as progress:
        counts = replay(paths, feed.client, feed.settings, progress=progress)
    published = report.listed(counts.published)
    feed.console.print(f"[bold]replayed[/] {counts.lines:,} lines: {published}; {counts.ignored:,} ignored")
    feed.wait()
    if not counts.symbols:
        raise DemoError("the recordings hold no message that could be read")
    grid = feed.settings.emit_interval_ms
    end_ms = -(-max(counts.last_event.values()) // grid) * grid
    return counts.symbols, ((counts.first_ms or end_ms) * 1000, end_ms * 1000)


@contextlib.contextmanager
def simulation(feed: Feed, symbols: Sequence[str], seed: int, history_s: int) -> Iterator[None]:
    """Simulate the hours until now as fast as the pipeline reads them, then go on live while the block runs."""
    market = partial(history, symbols=symbols, seed=seed)
    now_ms = _now_ms()
    at_ms = resume(feed.client, feed.settings, symbols, now_ms - history_s * 1000)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=feed.console) as progress:
        task = progress.add_task("simulated seconds", total=(now_ms - at_ms) // 1000)
        start: Callable[[], None] | None = feed.start_worker
        while (now_ms := _now_ms()) - at_ms > NEAR_MS or start:
            progress.update(task, total=progress.tasks[0].completed + (now_ms - at_ms) // 1000)
            _publish_past(feed, market, at_ms, now_ms, lambda seconds: progress.advance(task, seconds), start)
            at_ms, start = now_ms, None
    stop = threading.Event()
    messages = live(at_ms, symbols=symbols, seed=seed, stop=stop)
    thread = threading.Thread(target=_publish_live, args=(feed, messages), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _publish_past(
    feed: Feed,
    market: Callable[..., Iterator[tuple[str, Simulated]]],
    start_ms: int,
    end_ms: int,
    advance: Callable[[int], None],
    start_worker: Callable[[], None] | None,
) -> None:
    """Publish a span of the past: posts first, so that they are scored before the market reaches their time."""
    sink = Sink(feed.client, feed.settings, Counts())
    for kind, message in market(start_ms, end_ms, kinds=(POST,)):
        sink.publish(kind, message, recorded=True)
    sink.wait_for_scores()
    if start_worker:
        start_worker()
    shown_ms = start_ms
    for kind, message in market(start_ms, end_ms, kinds=("book", "trade")):
        sink.publish(kind, message, recorded=True)
        if message.timestamp - shown_ms >= SHOWN_EVERY_MS:
            advance((message.timestamp - shown_ms) // 1000)
            shown_ms = message.timestamp
    advance((end_ms - shown_ms) // 1000)
    sink.flush()
    feed.wait()


def _publish_live(feed: Feed, messages: Iterator[tuple[str, Simulated]]) -> None:
    sink = Sink(feed.client, feed.settings, Counts())
    for kind, message in messages:
        sink.publish(kind, message, recorded=False)
        sink.flush()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Feed:
    """What both feeds need: where to write, and how to wait until everything is in both stores."""

    def __init__(self, client: redis.Redis, settings: conf.Settings, processes: Processes, console: Console) -> None:
        self.client = client
        self.settings = settings
        self.console = console
        self._processes = processes

    def start_worker(self) -> None:
        """Start the feature worker. Called once there is market data to read; before that, its clock would pass the simulated hours."""
        self._processes.start("worker")

    def wait(self) -> None:
        """Wait until nothing waits in a stream or an outbox, and show what does; give up after `PATIENCE_S` without progress."""
        last, deadline = -1, time.monotonic() + PATIENCE_S
        with self.console.status("waiting for the pipeline") as status:
            while True:
                self._processes.restart_dead()
                waiting = backlog(self.client, self.settings.partitions)
                if waiting.total == 0:
                    return
                of_each = f"{waiting.posts:,} posts, {waiting.events:,} messages, {waiting.outbox:,} batches of rows"
                status.update(f"{of_each} wait")
                if waiting.total != last:
                    last, deadline = waiting.total, time.monotonic() + PATIENCE_S
                if time.monotonic() > deadline:
                    raise DemoError(f"the pipeline stands still with {waiting}")
                time.sleep(0.1)
