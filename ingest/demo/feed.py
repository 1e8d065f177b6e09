"""What the demo publishes: recordings at their own times, or a simulated market whose last seconds are live."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ingest import settings as conf
from ingest.messages.refusal import Reason
from ingest.publish import report
from ingest.publish.counts import Counts
from ingest.publish.sink import Sink
from ingest.recordings.columns import GivenColumns
from ingest.recordings.lines import POST
from ingest.recordings.venue_clock import Pace
from ingest.replay import replay
from ingest.run.processes import Processes
from ingest.simulate import history, live
from ingest.simulate.history import MARKET
from ingest.simulate.run import resume
from ingest.streams import membership
from ingest.streams.backlog import backlog
from ingest.worker.neighbours import Leaders

NEAR_MS = 2000
"""How far from now the simulation may be when it goes live."""
PATIENCE_S = 180.0
"""How long the pipeline may make no progress before the demo gives up. The time in which a part starts does not count."""
STARTING = {
    "scorer": "the scorer loads its model",
    "worker": "the worker starts, and compiles its kernels if this machine has none: minutes, once",
}
"""What takes long when a part starts."""
SHOWN_EVERY_MS = 10_000
"""Simulated time between two steps of the progress bar."""


class DemoError(RuntimeError):
    """Something was not right; the message says what, and the demo ends with exit code 1."""


@dataclass(frozen=True)
class Heard:
    """What recordings held.

    Attributes
    ----------
    last_us : mapping
        For each symbol and kind of message (``book``, ``trade``, ``social``) the boundary of the grid at or after the last one.
    lost : frozenset of str
        Symbols whose book was unknown at the end.
    span_us : tuple of int
        Begin and end.
    diffs_unused : int
        Lines of changes of a book that no snapshot bridged.
    """

    last_us: Mapping[tuple[str, str], int]
    lost: frozenset[str]
    span_us: tuple[int, int]
    diffs_unused: int

    @property
    def symbols(self) -> list[str]:
        """All symbols, sorted."""
        return sorted({symbol for symbol, _ in self.last_us})

    def lacks(self) -> Iterator[str]:
        """Yield a sentence for each kind of message that symbols lack, with what to give."""
        for kind, (what, give) in _GIVE.items():
            without = [symbol for symbol in self.symbols if (symbol, kind) not in self.last_us]
            if without:
                some = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
                yield f"{some}: no {what}, so their features are null. To see them, give also {give}."
        if self.diffs_unused:
            yield (
                f"{self.diffs_unused:,} changes of a book were refused, because no snapshot came before them. "
                "Give also the file before, which has the snapshot."
            )


_GIVE = {
    "book": ("order books", "a recording of depth that begins with its snapshot, or a table of books"),
    "trade": ("trades", "a recording or a table of trades"),
    POST: ("posts", "a file of posts (text, time)"),
}
"""For each kind of message what it is called, and what to give to have it."""


def recordings(feed: Feed, paths: Sequence[Path], columns: GivenColumns) -> Heard:
    """Replay recordings. Raise `DemoError` if nothing could be read of one that has rows, or of all of them."""
    feed.start_worker()
    feed.wait_for("scorer", "worker")
    with report.live("replay", quiet=False) as progress:
        counts = replay(paths, feed.client, feed.settings, columns=columns, progress=progress)
    published = report.listed(counts.published)
    read = report.lines_text(counts.lines, counts.passed_over)
    feed.console.print(f"[bold]replayed[/] {published}; lines: {read}", highlight=False)
    if counts.refused:
        kept = "see `python -m ingest dead-letters`"
        feed.console.print(f"[bold]refused[/] {report.listed(counts.refused)}; {kept}", highlight=False)
    feed.wait()
    diffs_unused = counts.refused[Reason.SEQUENCE_GAP]
    if counts.unread or not counts.last_of:
        why = "; ".join(counts.unread) or "the recordings hold no message: " + ", ".join(
            _emptiness(path) for path in paths
        )
        give = ". Give also the file before, which has the snapshot" if diffs_unused else ""
        raise DemoError(why + give)
    grid = feed.settings.emit_interval_ms
    last_ms = {key: -(-at // grid) * grid for key, at in counts.last_of.items() if key[1] != "gap"}
    lost = frozenset(
        s
        for s, kind in counts.last_of
        if kind == "gap" and counts.last_of[s, "gap"] >= counts.last_of.get((s, "book"), 0)
    )
    end_ms = max(last_ms.values())
    begin_ms = counts.first_ms or counts.first_post_ms or end_ms
    last_us = {key: at * 1000 for key, at in last_ms.items()}
    return Heard(last_us, lost, (begin_ms * 1000, end_ms * 1000), diffs_unused)


def _emptiness(path: Path) -> str:
    return f"{path.name} {'has no message' if path.stat().st_size else 'is empty'}"


@contextlib.contextmanager
def simulation(feed: Feed, symbols: Sequence[str], seed: int, history_s: int) -> Iterator[None]:
    """Simulate the hours until now as fast as the pipeline reads them, then go on live while the block runs."""
    sink = Sink(feed.client, feed.settings, Counts(), leaders=Leaders(feed.settings).accept)
    worker_runs = False
    feed.wait_for("scorer")
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
            for kind, message in past(kinds=MARKET):
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
        for kind, message in live(at_ms, symbols=symbols, seed=seed, pace=Pace.of(feed.settings), stop=stop):
            sink.publish(kind, message, recorded=False)
            sink.flush()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@dataclass
class Feed:
    """What both feeds need: where to write, and how to wait until everything is in both stores."""

    client: redis.Redis
    settings: conf.Settings
    processes: Processes
    console: Console
    begun: set[str] = field(default_factory=set)  # the parts that have begun to read, or died before they did

    def start_worker(self) -> None:
        """Start the feature worker. Called once there is market data to read; before that, its clock would pass the simulated hours."""
        self.processes.start("worker")

    def wait_for(self, *roles: str) -> None:
        """Wait until these parts read, however long they take to start: a producer has less patience."""
        for role in roles:
            with self.console.status(STARTING[role]):
                while self._starts(role):
                    self.processes.restart_dead()
                    time.sleep(0.1)

    def wait(self) -> None:
        """Wait until nothing waits in a stream or an outbox, and show what does; give up after `PATIENCE_S` without progress."""
        last, deadline = -1, time.monotonic() + PATIENCE_S
        with self.console.status("waiting for the pipeline") as status:
            while True:
                self.processes.restart_dead()
                waiting = backlog(self.client, self.settings.partitions)
                if waiting.total == 0:
                    return
                starts = self._starts("worker")
                of_each = f"{waiting.posts:,} posts, {waiting.events:,} messages, {waiting.outbox:,} batches of rows"
                status.update(f"{of_each} wait" + (f"; {STARTING['worker']}" if starts else ""))
                if starts or waiting.total != last:
                    last, deadline = waiting.total, time.monotonic() + PATIENCE_S
                if time.monotonic() > deadline:
                    raise DemoError(f"the pipeline stands still with {waiting}")
                time.sleep(0.1)

    def _starts(self, role: str) -> bool:
        """Return whether a part has not begun to read. One that died while it started is no reason to wait on."""
        if role not in self.begun:
            alive = membership.count_alive(membership.silent_ms(self.client, [role]))
            if alive[role] or self.processes.restarts:
                self.begun.add(role)
        return role not in self.begun
