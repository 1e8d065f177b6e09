"""The tasks of a backfill: messages in the order of arrival, through the same symbols as in the live worker, into the tables.

A task runs here (``process_task``), or with others in processes of their own (``process_together``).
"""

from __future__ import annotations

import multiprocessing
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from ingest.backfill import raw_read, table
from ingest.backfill.plan import Task
from ingest.backfill.raw import Source
from ingest.backfill.refused import RefusedFile
from ingest.messages.envelope import Envelope
from ingest.messages.kinds import MicropriceTable, ScoredPost, Tick, WithdrawnPost, time_us
from ingest.recordings.lines import Parsed, Rejected
from ingest.recordings.recording import Known, Recording
from ingest.recordings.venue_clock import Pace
from ingest.settings import Settings
from ingest.worker.symbol import Symbol
from ingest.worker.symbols import Symbols
from transforms.catalog import View
from transforms.engine import warm_up
from transforms.kernel import Vector

CHECK_EVERY = 2000
"""Messages between two checks whether enough rows are collected to write them."""
REPORT_S = 0.5
"""Seconds between two reports of a process."""
Tables = Mapping[str, Sequence[MicropriceTable]]
"""The fitted microprice tables of each symbol, in the order of the times from which they are used."""
_reports: Any = None
"""In a process of the pool: the queue for its progress."""


@dataclass(slots=True)
class Done:
    """Counts of a backfill or of a part of it; parts are added with ``+``.

    Attributes
    ----------
    lines, of : int
        Lines of files and rows of tables read, and how many there are in all; ``of`` is 0 if they were not counted.
    passed_over : Counter of str
        Valid lines that gave no message, by what they are.
    unread : list of str
        A sentence for each file with rows of which nothing could be read.
    taken, refused : Counter of str
        Messages accepted by kind, and refused by reason.
    made, new, skipped : int
        Rows made, those of them that were not in the tables before, and those of symbol-days that an earlier run finished.
    symbols : set of str
        The symbols that accepted a message.
    """

    lines: int = 0
    of: int = 0
    passed_over: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    made: int = 0
    new: int = 0
    skipped: int = 0
    symbols: set[str] = field(default_factory=set)

    def __add__(self, other: Done) -> Done:
        return Done(
            self.lines + other.lines,
            self.of + other.of,
            self.passed_over + other.passed_over,
            self.unread + other.unread,
            self.taken + other.taken,
            self.refused + other.refused,
            self.made + other.made,
            self.new + other.new,
            self.skipped + other.skipped,
            self.symbols | other.symbols,
        )


Progress = Callable[[Done], None]
"""Called now and then with what is done so far."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all tasks of a run have in common: ``run`` is its digest, ``delay_us`` is ``created_timestamp - event_timestamp``.

    ``refused`` is the folder for the file of what a task refuses.
    """

    tables: Tables
    source: Source | None
    settings: Settings
    url: str
    run: bytes
    delay_us: int
    known: Known | None = None
    refused: Path | None = None

    def refused_file(self, part: str) -> RefusedFile:
        """Return the file for what a part of this run refuses."""
        return RefusedFile(self.refused and self.refused / f"backfill-{self.run.hex()[:12]}-{part}.jsonl")


def process_task(task: Task, posts: Sequence[ScoredPost | WithdrawnPost], shared: Shared, report: Progress) -> Done:
    """Process the messages of a task as a replay publishes them: the posts, then the market by receive time.

    Of raw tables one symbol comes after the other.
    """
    warm_up()
    done = Done()
    part = zlib.crc32(repr((sorted(task.symbols), task.share)).encode())
    with (
        psycopg.connect(shared.url, autocommit=True, application_name="tfs backfill") as connection,
        shared.refused_file(f"{part:08x}") as refused,
    ):
        writer = table.Writer(connection, shared.run, table.finished(connection, shared.run), shared.delay_us)
        feed = Feed(shared, writer, done, report, refused)
        for post in posts:
            feed.accept_post(post)
        if shared.source is not None:
            _read_tables(task, shared.source, shared, feed, done)
        if task.paths:
            _read_files(task, shared, feed, done)
        feed.end()
        writer.flush(end=True)
        done.made, done.new, done.skipped = writer.made, writer.new, writer.skipped
    return done


def process_together(
    parts: Sequence[tuple[Task, Sequence[ScoredPost | WithdrawnPost]]],
    shared: Shared,
    jobs: int,
    total: Done,
    progress: Progress,
) -> Done:
    """Process tasks with their posts in ``jobs`` processes; return ``total`` and what they did. The first failure ends all."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    reports = context.SimpleQueue()
    so_far: dict[int, Done] = {}
    with ProcessPoolExecutor(jobs, context, _begin, (reports,)) as pool:
        waiting = {pool.submit(_process, i, task, posts, shared) for i, (task, posts) in enumerate(parts)}
        try:
            while waiting:
                finished, waiting = wait(waiting, REPORT_S, FIRST_COMPLETED)
                for future in finished:
                    future.result()
                while not reports.empty():
                    number, done = reports.get()
                    so_far[number] = done
                progress(sum(so_far.values(), total))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return sum(so_far.values(), total)


def _begin(reports: Any) -> None:
    global _reports
    _reports = reports


def _process(number: int, task: Task, posts: Sequence[ScoredPost | WithdrawnPost], shared: Shared) -> None:
    reported = time.monotonic()

    def report(done: Done) -> None:
        nonlocal reported
        if time.monotonic() - reported >= REPORT_S:
            reported = time.monotonic()
            _reports.put((number, done))

    _reports.put((number, process_task(task, posts, shared, report)))


def _read_tables(task: Task, source: Source, shared: Shared, feed: Feed, done: Done) -> None:
    with psycopg.connect(shared.url, autocommit=True, application_name="tfs backfill, raw tables") as connection:
        for symbol, days in (task.days or {}).items():
            for output in raw_read.messages(connection, source, symbol, days, shared.settings.max_future_ms):
                done.lines += 1
                if isinstance(output, Parsed):
                    feed.accept(*output)
                else:
                    feed.refuse(output)
            feed.close(symbol)


def _read_files(task: Task, shared: Shared, feed: Feed, done: Done) -> None:
    settings = shared.settings
    recording = Recording(
        task.paths,
        None,
        task.columns,
        settings.max_future_ms,
        shared.known,
        instrument=settings.instrument,
        pace=Pace.of(settings),
    )
    is_first = task.share == 0  # of the tasks that read the same files, only one counts lines and refusals
    for output in recording.market():
        if is_first:
            done.lines = recording.lines
        if isinstance(output, Parsed):
            if task.takes(output.message.symbol):  # type: ignore[union-attr]  # the market has no posts
                feed.accept(*output)
        elif is_first:
            feed.refuse(output)
    if is_first:
        done.lines, done.passed_over, done.unread = recording.lines, recording.passed_over, recording.unread()


class Feed:
    """The messages of a task on their way to their symbols, with each symbol's microprice tables at their times.

    Rows go to ``writer``; ``done`` counts what is accepted and refused, and the symbols; ``refused`` keeps what is refused.
    """

    def __init__(
        self, shared: Shared, writer: table.Writer, done: Done, report: Progress, refused: RefusedFile
    ) -> None:
        settings, tables = shared.settings, shared.tables
        self._symbols = Symbols(
            settings,
            self._add,
            lambda origin, why: refused.keep_message(origin[1].get(b"message"), why),
        )
        self._refused = refused
        self._grid_ms = settings.emit_interval_ms
        listed = settings.symbols or tables.keys()
        self._tables = {name: deque(of_symbol) for name, of_symbol in tables.items() if name in listed}
        self._writer = writer
        self._done = done
        self._report = report
        done.taken, done.refused = self._symbols.accepted, self._symbols.refused
        self._unchecked = 0
        self._last: dict[str, int] = {}
        self._last_post: dict[str, int] = {}

    def _add(self, symbol: Symbol, view: View, t_us: int, values: Vector) -> None:
        self._writer.add(symbol.name, view, t_us, values, symbol.engine.silence_us(view, t_us))

    def accept(self, kind: str, message: Any) -> None:
        """Give a message to its symbol. A refused one is counted by its reason."""
        name = message.symbol
        if kind == "post":
            self._last_post[name] = max(message.available, self._last_post.get(name, 0))
        else:
            t_us = time_us(message)
            self._last[name] = max(-(-t_us // 1000), self._last.get(name, 0))
            if name in self._tables:
                self._install_tables(name, t_us // 1000)
        origin = b"", {b"message": message}
        self._symbols.accept(Envelope(kind, message, received_ms=message.received or 0, origin=origin))
        self._unchecked += 1
        if self._unchecked == CHECK_EVERY:
            self._unchecked = 0
            self._writer.flush()
            self._report(self._done)

    def refuse(self, rejected: Rejected) -> None:
        """Count and keep a refused line or row."""
        self._done.refused[str(rejected.reason)] += 1
        self._refused.keep_line(rejected)

    def accept_post(self, post: ScoredPost | WithdrawnPost) -> None:
        """Give a scored post to its symbol, or a withdrawal to the symbols that have its post."""
        if isinstance(post, WithdrawnPost):
            self._symbols.accept(Envelope("withdrawal", post))
        else:
            self.accept("post", post)

    def _install_tables(self, name: str, until_ms: int) -> None:
        """Give a symbol the tables that are used from ``until_ms`` or before; it applies each at its time."""
        tables = self._tables[name]
        while tables and tables[0].usable_from <= until_ms:
            self._symbols.accept(Envelope("microprice", tables.popleft()))

    def close(self, name: str) -> None:
        """Emit the last rows of a symbol, up to the boundary after its newest message, and forget it."""
        if name not in self._symbols:
            return  # it accepted no message
        last = self._last.get(name) or self._last_post.get(name, 0)
        end = -(-last // self._grid_ms) * self._grid_ms
        if name in self._tables:
            self._install_tables(name, end)
        self._symbols.pop(name).accept(Envelope("tick", Tick(end, name)))
        self._done.symbols.add(name)

    def end(self) -> None:
        """Close every open symbol."""
        for name in list(self._symbols):
            self.close(name)
