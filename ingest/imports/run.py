"""An import: every file is recognised before anything is written, then one after the other is read and appended."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from ingest.feeds.binance_addresses import VENUES
from ingest.imports.formats.form import UNNAMED, Context, Format, Head, Market
from ingest.imports.formats.known import format_of
from ingest.imports.formats.table import head_of
from ingest.imports.rows import Done, Row, rows_of
from ingest.imports.writing import Writer
from ingest.recordings.columns import MARKET_FILE, NO_COLUMN, GivenColumns, check_prefixes, given_prefix
from ingest.recordings.files import FileFormError
from ingest.recordings.refused import RefusedFile
from ingest.settings import Settings
from ingest.tape.table import Tape, of_tape, open_to_append

_OTHER_NAMES = {"binance-delivery": "binance-coinm", "binance-usdm": "binance-futures"}  # as Tardis and ccxt name them
FORM_OF_ROWS = 1
"""Another number makes every import another one. It is raised when a format gives other messages for the same file."""


@dataclass(slots=True)
class Job:
    """Files that are one import."""

    paths: list[Path]
    format: Format
    context: Context
    market: Market
    done: Done = field(default_factory=Done)

    @property
    def name(self) -> str:
        """The names of the files, for messages."""
        return ", ".join(path.name for path in self.paths[:3]) + (" and others" if len(self.paths) > 3 else "")

    def key(self) -> str:
        """Return what tells this import from every other: a hash of the files' content and of what is said of them."""
        context, digest = self.context, hashlib.sha256()
        is_told_by_name = self.format.name_has_day or not context.symbol
        named = sorted(path.name for path in self.paths) if is_told_by_name else ""
        said = [
            FORM_OF_ROWS,
            self.format.name,
            context.symbol,
            context.prefix,
            self.market.name,
            repr(context.columns),
            named,
        ]
        digest.update(msgspec.msgpack.encode(said))
        for path in (*self.paths, *self.format.beside(self.paths[0])):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def plan(paths: Sequence[Path], columns: GivenColumns, venue: str = "", format_name: str = "") -> list[Job]:
    """Return what is to be imported. Raise `FileFormError` or ``OSError`` if a file cannot be read or is of no known format."""
    check_prefixes(columns, paths)
    jobs: list[Job] = []
    for path in dict.fromkeys(paths):
        if path.is_dir():
            raise FileFormError(f"{path} is a folder: name the files in it, such as {path}/*")
        if path.exists() and not path.is_file():
            raise FileFormError(f"{path} is a pipe or a device, and a file is read twice: write it to a file first")
        head = replace(head_of(path), symbol=columns.symbol or "")
        form = format_of(head, columns, format_name)
        market = _market(form, head, venue, columns)
        prefix = given_prefix(columns, path)
        together = next(
            (job for job in jobs if form.reads_together and _is_one(job, form, market, prefix, columns)), None
        )
        if together is not None:
            together.market = market if together.market.name == UNNAMED else together.market
            together.paths.append(path)
            together.context.others = together.paths[1:]
            continue
        before = market.prefix if prefix is None and not form.reads_together else prefix or ""
        context = Context(columns.symbol or "", before, venue, columns=columns)
        jobs.append(Job([path], form, context, market))
    # single trades first: then they are those that count
    return sorted(jobs, key=lambda job: job.format.form == "aggTrade")


def _is_one(job: Job, form: Format, market: Market, prefix: str | None, columns: GivenColumns) -> bool:
    """Return whether a file is read together with those of a job: it is of the same format, prefix and market, as far as they tell one."""
    is_market = job.market == market or UNNAMED in (job.market.name, market.name)
    return job.format is form and is_market and given_prefix(columns, job.paths[0]) == prefix


def _market(form: Format, head: Head, venue: str, columns: GivenColumns) -> Market:
    """Return the market of a file: the one that the user names, that of the format, or that of the first row."""
    told = form.market(head)
    if told.name == UNNAMED and ("venue", NO_COLUMN) not in columns.fields:
        names = head.columns
        column = next((name for name in MARKET_FILE["venue"] if name in names), None)
        if column and len(head.rows) > 1:
            told = known_market(str(head.rows[1][names.index(column)]).strip().lower() or UNNAMED)
    if venue and venue != told.name:
        return known_market(venue)
    return told


def known_market(name: str) -> Market:
    """Return the market that a user or a file names."""
    name = _OTHER_NAMES.get(name, name)
    return Market(name, VENUES[name].prefix if name in VENUES else "")


def run(
    job: Job, settings: Settings, folder: Path | None, progress: Callable[[Done], None], *, dry: bool = False
) -> Done:
    """Import the files of a job; with ``dry`` only read them."""
    key = job.key()
    done = job.done
    kept = None if dry or folder is None else folder / f"import-{key[:12]}.jsonl"
    with RefusedFile(kept) as refused:

        def open_tape() -> Tape:
            return open_to_append(settings, settings.deployment)

        writer = None
        if not dry:
            tape = open_tape()
            n = of_tape(tape, settings).partitions
            writer = Writer(tape, open_tape, n, key, job.market, job.format.form, done)
            if writer.is_complete():
                done.was_done = True
                return done
        outputs = job.format.read(job.paths[0], job.context)
        rows = rows_of(outputs, job.format, job.name, key, done, refused.keep_line)

        def shown() -> Iterator[Row]:
            for number, row in enumerate(rows):
                if not number % 10_000:
                    progress(done)
                yield row

        if writer is None:
            for _ in shown():
                pass
        else:
            writer.write(shown())
    return done


def unread(job: Job) -> str:
    """Return why nothing of a job's rows could be read; empty where something was."""
    done = job.done
    if done.was_done or done.read or done.earlier:
        return ""
    why = done.reasons or [f"{n:,} {what} passed over" for what, n in (+job.context.passed_over).items()]
    return f"nothing of {job.name} could be read ({'; '.join(why)})" if why else ""
