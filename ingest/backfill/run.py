"""A backfill: scan, score, share out, and carry on where an earlier one was stopped."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import psycopg

from ingest.backfill import raw, raw_query, table
from ingest.backfill.plan import Scan, Task, plan, plan_days, scan
from ingest.backfill.pool import together
from ingest.backfill.posts import score_posts
from ingest.backfill.work import Done, work
from ingest.messages.kinds import MicropriceTable, ScoredPost, SocialPost
from ingest.microprice import tables as microprice
from ingest.recordings.columns import COMMON, GivenColumns
from ingest.recordings.lines import Parsed
from ingest.recordings.recording import Recording
from ingest.sentiment.history import History
from ingest.sentiment.scoring import Model
from ingest.settings import Settings
from transforms.engine import VERSION

Progress = Callable[[Done], None]


def backfill(
    paths: Sequence[Path],
    url: str,
    settings: Settings,
    *,
    source: raw.Source | None = None,
    delay_ms: int = 1000,
    jobs: int = 1,
    columns: GivenColumns = COMMON,
    load_model: Callable[[], Model] | None = None,
    progress: Progress | None = None,
) -> Done:
    """Write the rows of recordings, or of raw tables, into the offline tables.

    The rows are those that a replay of the same messages gives, bit for bit; only ``created_timestamp`` differs. The microprice tables
    of the database count as they do live, each from its ``usable_from`` on. Rows that are there
    already are left as they are, and symbol-days that the same run has finished are not written again: what was stopped is
    carried on by calling it again. (State is made anew from the beginning of the data, since kernels remember days.)

    Parameters
    ----------
    paths:
        Raw Binance captures, JSON lines of our messages, posts, trades or books as Parquet or CSV; text may be gzipped.
    url:
        The database.
    source:
        Raw tables of the same database; ``paths`` may hold posts besides, and no market.
    delay_ms:
        How long after its event time a row counts as available: ``created_timestamp`` less ``event_timestamp``.
    jobs:
        Processes. Symbols are shared out among them; a symbol's days are always in order in one.
    columns:
        Names of columns of Parquet and CSV files where they are not the common ones.
    load_model:
        Gives the sentiment model; called only where there are posts.
    progress:
        Called now and then with what is done so far.

    Raises
    ------
    ingest.recordings.posts.PostsFileError, OSError
        A file cannot be read.
    ingest.backfill.raw.RawTableError
        There are raw tables, and a file that may hold market data.
    psycopg.Error
        The database cannot be read or written.
    """
    scans = [scan(path, columns) for path in paths]
    if source is not None and (market := [one.path.name for one in scans if one.market]):
        raise raw.RawTableError(f"with raw tables, files hold posts (.parquet, .csv) only, not {', '.join(market[:5])}")
    total = Done(of=sum(one.lines for one in scans))
    days: raw_query.Days = {}
    with psycopg.connect(url, autocommit=True) as connection:
        table.prepare(connection)
        tables = microprice.load(connection)
        if source is not None:
            days, nowhere = raw_query.days(connection, source)
            total.refused += Counter({str(reason): n for reason, n in nowhere.items()})
            total.lines += nowhere.total()
            total.of += nowhere.total() + sum(n for of_symbol in days.values() for n in of_symbol.values())
    tasks = plan(scans, jobs, columns) if source is None else plan_days(days, jobs)
    texts, model = _scores(scans, url, settings, columns, load_model, total)
    rows = (columns, source, sorted((symbol, sorted(of_symbol.items())) for symbol, of_symbol in days.items()))
    run = _run_digest(scans, settings, delay_ms, model, tables, rows)
    parts = [(task, [p for p in texts if _owner(tasks, p.symbol) == i]) for i, task in enumerate(tasks)]
    common = (tables, source, settings, url, run, delay_ms * 1000)
    if jobs == 1 or len(tasks) == 1:
        for task, posts in parts:
            before = _copy(total)
            total.add(work(task, posts, *common, _on_top(before, progress)))
        return total
    return together(parts, common, jobs, total, progress)


def _scores(
    scans: Sequence[Scan],
    url: str,
    settings: Settings,
    columns: GivenColumns,
    load_model: Callable[[], Model] | None,
    total: Done,
) -> tuple[list[ScoredPost], str]:
    """The posts of all files, scored, and which model did it."""
    recording = Recording([one.path for one in scans if one.posts], None, columns, settings.max_future_ms)
    posts: list[SocialPost] = []
    for output in recording.posts():
        if isinstance(output, Parsed):
            assert isinstance(output.message, SocialPost)  # noqa: S101 - this pass gives posts only
            posts.append(output.message)
        else:
            total.refused[str(output.reason)] += 1
    total.lines += recording.lines
    if not posts:
        return [], ""
    if load_model is None:
        raise ValueError("there are posts and no model to score them")
    model = load_model()
    history = History(url)
    try:
        texts, refused = score_posts(posts, settings, model, history)
    finally:
        history.close()
    total.refused += refused
    return texts, f"{model.name}@{model.revision}"


def _owner(tasks: Sequence[Task], symbol: str) -> int:
    """The number of the task that takes a symbol's posts: that of its market, where it has one."""
    takers = [i for i, task in enumerate(tasks) if task.takes(symbol)]
    return next((i for i in takers if symbol in tasks[i].symbols), takers[0] if takers else 0)


def _run_digest(
    scans: Sequence[Scan],
    settings: Settings,
    delay_ms: int,
    model: str,
    tables: Mapping[str, Sequence[MicropriceTable]],
    rows: object = None,
) -> bytes:
    """What decides every row: the files' content (of raw tables the number of rows a day), kernels, grid, order, and so on."""
    digest = hashlib.blake2b(digest_size=16)
    for one in scans:
        digest.update(one.digest)
    about = [VERSION, settings.emit_interval_ms, settings.allowed_lateness_ms, settings.max_future_ms, delay_ms, model]
    known = sorted((name, repr(instrument)) for name, instrument in settings.instruments.items())
    digest.update(msgspec.msgpack.encode([about, known, sorted(settings.symbols), sorted(tables.items()), rows]))
    return digest.digest()


def _copy(done: Done) -> Done:
    copy = Done()
    copy.add(done)
    return copy


def _on_top(before: Done, progress: Progress | None) -> Progress | None:
    """Progress of one task as progress of all."""
    if progress is None:
        return None

    def report(part: Done) -> None:
        so_far = _copy(before)
        so_far.add(part)
        progress(so_far)

    return report
