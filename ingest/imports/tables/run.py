"""Raw tables of the offline database onto the tape: each day of each symbol is an import of its own.

A day has the messages of all tables that are named together, in the order of arrival. What the tape has of it is told by their number and
a check of them, so rows that were added at its end are added to the tape, and a day with as many messages as before is not read.
Rows that came into the middle, or were changed, cannot be brought onto a tape, which never changes: that is said.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psycopg

from feature_repo.stores.errors import UserError
from ingest.imports.formats.form import MAX_FUTURE_MS, Context, Market
from ingest.imports.rows import Done, Row, rows_of
from ingest.imports.run import FORM_OF_ROWS, known_market
from ingest.imports.tables import raw_read
from ingest.imports.tables.raw import RawTable, Source
from ingest.imports.writing import Writer
from ingest.messages.refusal import Refused
from ingest.recordings.lines import Output, Parsed, Rejected
from ingest.recordings.own import check_numbers
from ingest.recordings.refused import RefusedFile
from ingest.settings import Settings
from ingest.tape.table import Tape, of_tape, open_to_append
from transforms.times import date_of_day


class TableChangedError(UserError, ValueError):
    """Raw tables do not begin with what the tape has of them."""


class _Tables(NamedTuple):
    """What is said of tables where files have a format; days come in the order of arrival, which is kept."""

    name: str = "raw tables of the database"
    lacks: str = "What has no column is not known."
    keeps_order: bool = True
    needs_order: bool = False


TABLES = _Tables()


@dataclass(slots=True)
class TablesJob:
    """Tables that are one import. ``url`` is that of the database."""

    source: Source
    url: str
    context: Context
    market: Market
    done: Done = field(default_factory=Done)
    format: _Tables = TABLES

    @property
    def paths(self) -> list[str]:
        """The names of the tables."""
        return [".".join(table.name) for table in self.source.tables]

    @property
    def name(self) -> str:
        """The names of the tables, for messages."""
        return ", ".join(self.paths)


def job_of(source: Source, url: str, *, venue: str, prefix: str) -> TablesJob:
    """Return the import of raw tables."""
    market = Market(known_market(venue).name) if venue else Market()
    return TablesJob(source, url, Context(prefix=prefix, venue=venue), market)


def run(
    job: TablesJob, settings: Settings, folder: Path | None, progress: Callable[[Done], None], *, dry: bool = False
) -> Done:
    """Import the tables of a job; with ``dry`` only read them."""

    def open_tape() -> Tape:
        return open_to_append(settings, settings.deployment)

    with psycopg.connect(job.url, autocommit=True, application_name="tfs import") as connection:
        name = connection.info.dbname
        together = _digest(FORM_OF_ROWS, name, job.context.prefix, sorted(map(_told, job.source.tables)))
        kept = None if dry or folder is None else folder / f"import-{together.hex()[:12]}.jsonl"
        with RefusedFile(kept) as refused:
            writer = None
            if not dry:
                tape = open_tape()
                more = _agreed(tape, job, name, _number(together))
                writer = Writer(tape, open_tape, of_tape(tape, settings).partitions, "", job.market, "", job.done, more)
            with closing(_rows(connection, job, together, writer, refused, progress)) as rows:
                if writer is None:
                    for _ in rows:
                        pass
                else:
                    writer.write(rows)
    return job.done


def _agreed(tape: Tape, job: TablesJob, database: str, together: int) -> dict[str, int]:
    """Return the numbers of the tables; raise ``TableChangedError`` if the tape has one of them with other tables or columns."""
    numbers = {}
    for table in job.source.tables:
        own = f"tables/{_digest(database, job.context.prefix, table.name).hex()[:32]}"
        if tape.number(own) not in (None, together):
            raise TableChangedError(
                f"the tape has {'.'.join(table.name)} with other columns, or together with other tables: give the same --table and "
                "--column as before, or another --prefix"
            )
        numbers[own] = together
    return numbers


def _rows(
    connection: psycopg.Connection[Any],
    job: TablesJob,
    together: bytes,
    writer: Writer | None,
    refused: RefusedFile,
    progress: Callable[[Done], None],
) -> Generator[Row]:
    """Yield the rows of every day that is not on the tape as it is in the tables."""
    days, without_day = raw_read.days(connection, job.source)
    job.done.refused += without_day
    is_new = not days
    for symbol, of_symbol in sorted(days.items()):
        for day, count in sorted(of_symbol.items()):
            key = _digest(together, symbol, day).hex()
            begun = writer.begun(key) if writer else 0
            if begun == count:
                job.done.earlier += count
                continue
            is_new = True
            check = place = 0
            outputs = _messages(connection, job, symbol, day)
            for row in rows_of(outputs, TABLES, job.name, key, job.done, refused.keep_line):
                check, place = zlib.crc32(row.data, check), row.place
                if place == begun and writer and writer.tape.number(f"content/{key}") != check:
                    break
                yield row._replace(key=key, check=check)
            else:
                progress(job.done)
                if place >= begun:
                    continue
            raise TableChangedError(
                f"the rows of {symbol:.64} on {date_of_day(day)} in {job.name} do not begin with those that the tape has: a tape only "
                "grows, so import the tables under another --prefix, or into another tape (TFS_TAPE)"
            )
    job.done.was_done = not is_new


def _messages(connection: psycopg.Connection[Any], job: TablesJob, symbol: str, day: int) -> Iterator[Output]:
    for output in raw_read.messages(connection, job.source, symbol, [day], MAX_FUTURE_MS):
        if isinstance(output, Parsed):
            try:
                check_numbers(output.message)
            except Refused as why:
                yield Rejected(raw_read.line_of(job.source, output.message), why.reason, why.detail)
                continue
            output.message.symbol = job.context.prefix + output.message.symbol  # type: ignore[union-attr]  # no post
        yield output


def _told(table: RawTable) -> tuple[Any, ...]:
    return table.name, table.kind, sorted(table.columns.items()), table.in_us


def _digest(*what: Any) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode(what)).digest()


def _number(digest: bytes) -> int:
    """Return a hash as the number of an application transaction."""
    return int.from_bytes(digest[:7])
