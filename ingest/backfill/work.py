"""One task of a backfill: messages in the order of arrival, through the same symbols as the live worker, into the tables."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from ingest.backfill import raw_read, table
from ingest.backfill.plan import Task
from ingest.backfill.raw import Source
from ingest.messages.envelope import Envelope
from ingest.messages.kinds import MicropriceTable, ScoredPost, Tick
from ingest.recordings.lines import Parsed
from ingest.recordings.recording import Recording
from ingest.settings import Settings
from ingest.worker.symbols import Symbols
from transforms.engine import warm_up

_CHECK_EVERY = 2000
"""Messages between two looks at what waits to be written."""
_END = "end"
"""Kind of what is no message: a symbol has no more."""
Tables = Mapping[str, Sequence[MicropriceTable]]
"""The fitted microprice tables of each symbol, by the time from which they are used."""

Common = tuple[Tables, Source | None, Settings, str, bytes, int]
"""What all tasks of a run are given: tables, raw tables, settings, the database, the run, the delay in microseconds."""


@dataclass(slots=True)
class Done:
    """What a backfill, or a part of it, did.

    Attributes
    ----------
    lines, of:
        Lines of files and rows of tables read, and how many there are, 0 where nobody has counted.
    taken, refused:
        Messages by kind, and refusals by reason.
    made, new, skipped:
        Rows made, those that were not in the tables before, and those of symbol-days that an earlier run had finished.
    symbols:
        Seen.
    """

    lines: int = 0
    of: int = 0
    taken: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    made: int = 0
    new: int = 0
    skipped: int = 0
    symbols: set[str] = field(default_factory=set)

    def add(self, other: Done) -> None:
        """Add what another part did."""
        self.lines += other.lines
        self.of += other.of
        self.taken += other.taken
        self.refused += other.refused
        self.made += other.made
        self.new += other.new
        self.skipped += other.skipped
        self.symbols |= other.symbols


def work(
    task: Task,
    posts: Sequence[ScoredPost],
    tables: Tables,
    source: Source | None,
    settings: Settings,
    url: str,
    run: bytes,
    delay_us: int,
    report: Callable[[Done], None] | None = None,
) -> Done:
    """Do one task, of the raw tables of ``source`` where there are some; ``report`` is called now and then with what is done so far."""
    warm_up()
    with psycopg.connect(url, autocommit=True, application_name="tfs backfill") as connection:
        writer = table.Writer(connection, run, table.finished(connection, run), delay_us)
        done = Done()
        feed = Feed(settings, tables, writer, done)
        for n, (kind, message) in enumerate(_messages(task, posts, source, settings, url, done), 1):
            if kind == _END:
                feed.close(message)
                continue
            feed.accept(kind, message)
            if n % _CHECK_EVERY == 0:
                writer.flush()
                if report is not None:
                    report(done)
        feed.end()
        writer.flush(end=True)
        done.made, done.new, done.skipped = writer.made, writer.new, writer.skipped
    return done


def _messages(
    task: Task, posts: Iterable[ScoredPost], source: Source | None, settings: Settings, url: str, done: Done
) -> Iterator[tuple[str, Any]]:
    """The posts, then the market by receive time, as a replay publishes them; of raw tables one symbol and its end after the other."""
    for post in posts:
        yield "post", post
    if source is not None:
        yield from _rows(task, source, settings, url, done)
    if not task.paths:
        return
    recording = Recording(task.paths, None, task.columns, settings.max_future_ms)
    first = task.share == 0  # of those that read the same files, one counts what is no symbol's
    for output in recording.market():
        if isinstance(output, Parsed):
            if task.takes(output.message.symbol):  # type: ignore[union-attr]  # the market is no post
                yield output
        elif first:
            done.refused[str(output.reason)] += 1
        if first:
            done.lines = recording.lines
    if first:
        done.lines = recording.lines


def _rows(task: Task, source: Source, settings: Settings, url: str, done: Done) -> Iterator[tuple[str, Any]]:
    with psycopg.connect(url, autocommit=True, application_name="tfs backfill, raw tables") as connection:
        for symbol, days in (task.days or {}).items():
            for output in raw_read.messages(connection, source, symbol, days, settings.max_future_ms):
                done.lines += 1
                if isinstance(output, Parsed):
                    yield output
                else:
                    done.refused[str(output.reason)] += 1
            yield _END, symbol


class Feed:
    """The messages of a task on their way to their symbols, with the microprice tables that are used at their times.

    Parameters
    ----------
    settings : Settings
        Of this deployment.
    tables : Tables
        The fitted tables of each symbol.
    writer : table.Writer
        Is given the rows.
    done : Done
        What is accepted, refused and seen is counted there.
    """

    def __init__(self, settings: Settings, tables: Tables, writer: table.Writer, done: Done) -> None:
        self._symbols = Symbols(
            settings, lambda symbol, view, t_us, values: writer.add(symbol.name, view, t_us, values)
        )
        self._grid_ms = settings.emit_interval_ms
        listed = settings.symbols or tables.keys()
        self._tables = {name: deque(of_symbol) for name, of_symbol in tables.items() if name in listed}
        self._done = done
        done.taken, done.refused = self._symbols.accepted, self._symbols.refused
        self._last: dict[str, int] = {}
        self._last_post: dict[str, int] = {}

    def accept(self, kind: str, message: Any) -> None:
        """Give a message to its symbol; a refused one is counted with its reason."""
        name = message.symbol
        if kind == "post":
            self._last_post[name] = max(message.available, self._last_post.get(name, 0))
        else:
            self._last[name] = max(message.timestamp, self._last.get(name, 0))
            if name in self._tables:
                self._install_tables(name, message.timestamp)
        self._symbols.accept(Envelope(kind, message, received_ms=message.received or 0))

    def _install_tables(self, name: str, until_ms: int) -> None:
        """Give a symbol the tables that are used from ``until_ms`` or before: it applies each at its time."""
        tables = self._tables[name]
        while tables and tables[0].usable_from <= until_ms:
            self._symbols.accept(Envelope("microprice", tables.popleft()))

    def close(self, name: str) -> None:
        """Give the last rows of a symbol, up to the boundary after its newest message, and forget it."""
        if name not in self._symbols:
            return  # it accepted no message
        last = self._last.get(name) or self._last_post.get(name, 0)
        end = -(-last // self._grid_ms) * self._grid_ms
        if name in self._tables:
            self._install_tables(name, end)
        self._symbols.pop(name).accept(Envelope("tick", Tick(end, name)))
        self._done.symbols.add(name)

    def end(self) -> None:
        """Close every symbol."""
        for name in list(self._symbols):
            self.close(name)
