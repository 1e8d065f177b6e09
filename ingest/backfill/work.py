"""A task of a backfill: messages in the order of arrival, through the same symbols as in the live worker, into the tables."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ingest.backfill import table
from ingest.backfill.done import Done, Progress
from ingest.backfill.feed import Feed, Tables
from ingest.backfill.plan import Task
from ingest.imports.tables import raw_read
from ingest.imports.tables.raw import Source
from ingest.messages.kinds import ScoredPost, WithdrawnPost
from ingest.recordings.lines import Parsed
from ingest.recordings.recording import Known, Recording
from ingest.recordings.refused import RefusedFile
from ingest.recordings.venue_clock import Pace
from ingest.settings import Settings
from transforms.catalog import VIEW
from transforms.compiling import warm_up


@dataclass(frozen=True, slots=True)
class Shared:
    """What all tasks of a run have in common: ``run`` is its digest, ``delay_us`` is ``created_timestamp - event_timestamp``.

    ``refused`` is the folder for the file of what a task refuses, ``views`` are those whose rows are written.
    """

    tables: Tables
    source: Source | None
    settings: Settings
    url: str
    run: bytes
    delay_us: int
    known: Known | None = None
    refused: Path | None = None
    views: tuple[str, ...] = tuple(VIEW)

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
        finished, views = table.finished(connection, shared.run), [VIEW[name] for name in shared.views]
        writer = table.Writer(connection, shared.run, finished, shared.delay_us, views)
        feed = Feed(shared.settings, shared.tables, writer, done, report, refused)
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
            else:
                feed.overhear(*output)
        elif is_first:
            feed.refuse(output)
    if is_first:
        done.lines, done.passed_over, done.unread = recording.lines, recording.passed_over, recording.unread()
