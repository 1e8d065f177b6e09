"""A backfill: scan the files, score the posts, share out the symbols, and skip what an earlier run finished."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from ingest.backfill import table
from ingest.backfill.done import Done, Progress
from ingest.backfill.feed import Tables
from ingest.backfill.plan import Task, plan, plan_days
from ingest.backfill.posts import score_posts
from ingest.backfill.together import process_together
from ingest.backfill.work import Shared, process_task
from ingest.imports.tables import raw_read
from ingest.imports.tables.raw import RawTableError, Source
from ingest.messages.kinds import ScoredPost, SocialPost, WithdrawnPost
from ingest.microprice import tables as microprice
from ingest.recordings.columns import COMMON, GivenColumns
from ingest.recordings.lines import Parsed
from ingest.recordings.recording import Recording, find_out
from ingest.recordings.refused import RefusedFile
from ingest.sentiment.history import History
from ingest.sentiment.scoring import Model
from ingest.settings import Settings
from transforms.catalog import VIEW, VIEWS
from transforms.kernels import versions_of


def backfill(
    paths: Sequence[Path],
    url: str,
    settings: Settings,
    *,
    source: Source | None = None,
    delay_ms: int = 1000,
    jobs: int = 1,
    columns: GivenColumns = COMMON,
    views: Sequence[str] = tuple(VIEW),
    load_model: Callable[[], Model] | None = None,
    refused_folder: Path | None = None,
    progress: Progress = lambda done: None,
) -> Done:
    """Write the rows of recordings, or of raw tables, into the offline tables.

    The rows equal those of a replay of the same messages, bit for bit; only ``created_timestamp`` differs. The microprice tables
    of the database apply as they do live, each from its ``usable_from`` on. They take the place of what was recomputed before; served
    rows are left as they are. Symbol-days that the same run finished before are not written again, so a second call continues a run that
    was stopped. It computes all rows again from the beginning of the data, since kernels remember days.

    Raise ``TableFileError`` or ``OSError`` if a file cannot be read, ``RawTableError`` if a file beside raw tables may hold market data.

    Parameters
    ----------
    paths : sequence of Path
        Raw Binance captures, JSON lines of our messages, or posts, trades or books as Parquet or CSV; text may be gzipped.
        With a ``source`` they may hold only posts.
    source : Source or None
        Raw tables of the same database.
    delay_ms : int
        How long after its event time a row counts as available: ``created_timestamp - event_timestamp``.
    jobs : int
        Processes. Symbols are shared out among them; all days of a symbol are processed in order by one.
    views : sequence of str
        Only the rows of these are written; the kernels of all run.
    load_model : callable or None
        Returns the sentiment model; called only if there are posts.
    refused_folder : Path or None
        Gets files of what is refused, ``backfill-*.jsonl``.
    """
    known = find_out(paths, columns)
    scans = [known.surveys[path] for path in paths]
    if source is not None and (market := [one.path.name for one in scans if one.market]):
        raise RawTableError(f"with raw tables, files hold posts (.parquet, .csv) only, not {', '.join(market[:5])}")
    total = Done(of=sum(one.lines for one in scans))
    days: raw_read.Days = {}
    with psycopg.connect(url, autocommit=True) as connection:
        table.prepare(connection)
        tables = microprice.load(connection)
        if source is not None:
            days, refused = raw_read.days(connection, source)
            total.refused += refused
            total.lines += refused.total()
            total.of += refused.total() + sum(n for of_symbol in days.values() for n in of_symbol.values())
    tasks = plan(scans, jobs, columns, settings.followers()) if source is None else plan_days(days, jobs)
    recording = Recording([one.path for one in scans if one.posts], None, columns, settings.max_future_ms, known)
    rows = (columns, source, sorted((symbol, sorted(of_symbol.items())) for symbol, of_symbol in days.items()))
    content = [_digest(path) for path in paths]
    name = f"backfill-{hashlib.blake2b(b''.join(content), digest_size=6).hexdigest()}-posts.jsonl"
    with RefusedFile(refused_folder and refused_folder / name) as kept:
        posts, model = _scored_posts(recording, url, settings, load_model, total, kept)
    run = run_digest(content, settings, delay_ms, model, tables, [rows, list(views)])
    shared = Shared(tables, source, settings, url, run, delay_ms * 1000, known, refused_folder, tuple(views))
    parts = [
        (task, [post for post in posts if isinstance(post, WithdrawnPost) or _owner(tasks, post.symbol) == i])
        for i, task in enumerate(tasks)
    ]
    if jobs > 1 and len(tasks) > 1:
        return process_together(process_task, [(*part, shared) for part in parts], jobs, total, progress)

    def report(part: Done) -> None:
        progress(total + part)

    for task, of_task in parts:
        total += process_task(task, of_task, shared, report)
    return total


def _scored_posts(
    recording: Recording,
    url: str,
    settings: Settings,
    load_model: Callable[[], Model] | None,
    total: Done,
    kept: RefusedFile,
) -> tuple[list[ScoredPost | WithdrawnPost], str]:
    """Return the posts of all files, scored, and the name of the model; count lines and refusals in ``total``."""
    posts: list[SocialPost] = []
    for output in recording.posts():
        if isinstance(output, Parsed):
            assert isinstance(output.message, SocialPost)  # noqa: S101 - this pass yields only posts
            posts.append(output.message)
        else:
            total.refused[output.reason] += 1
            kept.keep_line(output)
    total.unread += recording.unread()
    total.lines += recording.lines
    if not posts:
        return [], ""
    if load_model is None:
        raise ValueError("there are posts and no model to score them")
    model = load_model()
    with closing(History(url)) as history:
        scored, refused = score_posts(posts, settings, model, history, kept.keep_message)
    total.refused += refused
    return scored, f"{model.name}@{model.revision}"


def _owner(tasks: Sequence[Task], symbol: str) -> int:
    """Return the number of the task that gets a symbol's posts: the one that has its market, if there is one."""
    takers = [i for i, task in enumerate(tasks) if task.takes(symbol)]
    return next((i for i in takers if symbol in tasks[i].symbols), takers[0] if takers else 0)


def _digest(path: Path) -> bytes:
    """Return a hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def run_digest(
    content: Sequence[bytes], settings: Settings, delay_ms: int, model: str, tables: Tables, rows: Any = None
) -> bytes:
    """Return a hash of all that determines the rows of a run.

    It covers the hashes of the files' ``content``, or for raw tables the number of rows of each day in ``rows``, the views that are written
    there too, and the versions and settings of the kernels. Two runs of the same digest make the same rows.
    """
    digest = hashlib.blake2b(digest_size=16)
    for one in content:
        digest.update(one)
    kernels = [sorted(versions_of(view).items()) for view in VIEWS]
    about = [kernels, settings.emit_interval_ms, settings.allowed_lateness_ms, settings.max_future_ms, delay_ms, model]
    known = sorted((name, repr(instrument)) for name, instrument in settings.instruments.items())
    digest.update(msgspec.msgpack.encode([about, known, sorted(settings.symbols), sorted(tables.items()), rows]))
    return digest.digest()
