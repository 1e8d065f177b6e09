"""What the demo publishes: recordings at their own times, or a simulated market whose last seconds are live."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ingest import settings as conf
from ingest.publish import report
from ingest.publish.counts import Counts
from ingest.publish.sink import Sink
from ingest.recordings.lines import POST
from ingest.replay import replay
from ingest.run.processes import Processes
from ingest.simulate import history, live
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
    sink = Sink(feed.client, feed.settings, Counts())
    worker_runs = False
    earliest_ms = time.time_ns() // 1_000_000 - history_s * 1000
    begin_ms = at_ms = resume(feed.client, feed.settings, symbols, earliest_ms)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=feed.console) as progress:
        task = progress.add_task("simulated seconds")
        while (now_ms := time.time_ns() // 1_000_000) - at_ms > NEAR_MS or not worker_runs:
            progress.update(task, total=(now_ms - begin_ms) // 1000)
            past = partial(history, at_ms, now_ms, symbols=symbols, seed=seed)
            for kind, message in past(kinds=(POST,)):  # first, to be scored before the market reaches their time
                sink.publish(kind, message, recorded=True)
            sink.wait_for_scores()
            if not worker_runs:
                feed.start_worker()
                worker_runs = True
            for kind, message in past(kinds=("book", "trade")):
                sink.publish(kind, message, recorded=True)
                if message.timestamp - at_ms >= SHOWN_EVERY_MS:
                    at_ms = message.timestamp
                    progress.update(task, completed=(at_ms - begin_ms) // 1000)
            at_ms = now_ms
            progress.update(task, completed=(at_ms - begin_ms) // 1000)
            sink.flush()
            feed.wait()
    stop = threading.Event()

    def go_on() -> None:
        for kind, message in live(at_ms, symbols=symbols, seed=seed, stop=stop):
            sink.publish(kind, message, recorded=False)
            sink.flush()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@dataclass(frozen=True)
class Feed:
    """What both feeds need: where to write, and how to wait until everything is in both stores."""

    client: redis.Redis
    settings: conf.Settings
    processes: Processes
    console: Console

    def start_worker(self) -> None:
        """Start the feature worker. Called once there is market data to read; before that, its clock would pass the simulated hours."""
        self.processes.start("worker")

    def wait(self) -> None:
        """Wait until nothing waits in a stream or an outbox, and show what does; give up after `PATIENCE_S` without progress."""
        last, deadline = -1, time.monotonic() + PATIENCE_S
        with self.console.status("waiting for the pipeline") as status:
            while True:
                self.processes.restart_dead()
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
