"""The table of the tape: making and opening it, where each stream was read up to, and appending.

An append is one commit of Delta Lake: its rows, and what is known after them, as application transactions (a name and a number each):

``position/<stream>/ms``, ``position/<stream>/n``
    The two numbers of the id of the last entry of the stream that is on the tape.
``count/<partition>/<day>``, ``check/<partition>/<day>``
    How many rows the day has, and the sum of their checks (``columns.check_of``).
``days/<partition>``
    How many days have rows.
``holes/<stream>``
    How often the stream had lost entries before the tape could read them.

An import has numbers of its own (``ingest/imports/writing.py``).

The position is read in the same snapshot that the rows are appended to. A commit that another writer made behind this snapshot has one of
the same names, so the append is refused whole, and the writer reads the position again. So each entry is on the tape once, whoever writes
and wherever one dies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from feature_repo.stores.delta import options, told
from feature_repo.stores.errors import UserError
from ingest.settings import Settings, SettingsError
from ingest.streams.read import id_numbers
from ingest.tape.columns import CHECK_BITS, PARTITIONED_BY, SCHEMA, check_of

WRITER = WriterProperties(compression="ZSTD", compression_level=3)


class TapeError(UserError, RuntimeError):
    """The tape cannot be used as it was asked; the message says what to do."""


class NoTapeError(TapeError):
    """There is no tape yet."""


class StorageError(UserError, RuntimeError):
    """The storage of the tape refuses or does not answer. It may be well again later."""


class ConflictError(StorageError):
    """Another writer has appended since the table was read; nothing of this append is on the tape."""


@contextlib.contextmanager
def storage(place: str) -> Iterator[None]:
    """Turn what the storage raises into `StorageError`, without secrets."""
    try:
        yield
    except TableNotFoundError as error:
        raise NoTapeError(
            f"there is no tape at {place} yet; the role `tape` (`python -m ingest run`) or `python -m ingest import` makes it"
        ) from error
    except CommitFailedError as error:
        raise ConflictError(f"another writer has appended to the tape at {place}") from error
    except (DeltaError, OSError) as error:
        raise StorageError(f"the tape at {place} cannot be used: {told(error)}") from None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one stream that follow those on the tape, up to and with the entry ``last_id``.

    Attributes
    ----------
    stream : str
        The name of the stream in Redis.
    rows : pyarrow.Table
    last_id : bytes
    hole : bool
        Whether the stream had lost entries before the first of these.
    """

    stream: str
    rows: pa.Table
    last_id: bytes
    hole: bool = False


class Tape:
    """The table at one version, which an append moves on.

    Parameters
    ----------
    table : deltalake.DeltaTable
    place : str
        Where it is, for messages.
    """

    def __init__(self, table: DeltaTable, place: str) -> None:
        self.table = table
        self.place = place

    def number(self, name: str) -> int | None:
        """Return the number of an application transaction."""
        return self.table.transaction_version(name)

    def position(self, stream: str) -> bytes | None:
        """Return the id of the last entry of a stream that is on the tape; None before the first."""
        ms = self.number(f"position/{stream}/ms")
        return None if ms is None else b"%d-%d" % (ms, self.number(f"position/{stream}/n") or 0)

    def figures(self, partition: int, day: date) -> tuple[int, int]:
        """Return how many rows a day of a partition has, and the sum of their checks, as they were counted when they were appended."""
        return self.number(f"count/{partition}/{day}") or 0, self.number(f"check/{partition}/{day}") or 0

    def append(self, batches: Sequence[Batch]) -> None:
        """Append all batches in one commit. Raise `ConflictError` if another writer was first, `StorageError` if it cannot be written."""
        positions: dict[str, int] = {}
        for stream, last_id, hole in ((batch.stream, batch.last_id, batch.hole) for batch in batches):
            positions[f"position/{stream}/ms"], positions[f"position/{stream}/n"] = id_numbers(last_id)
            if hole:
                positions[f"holes/{stream}"] = (self.number(f"holes/{stream}") or 0) + 1
        self.commit([batch.rows for batch in batches], positions)

    def commit(self, tables: Sequence[pa.Table], numbers: Mapping[str, int]) -> None:
        """Append rows with ``numbers``, by name, as application transactions, and count the rows. Raise as ``append``."""
        every = {**numbers, **self._counts(tables)}
        transactions = [Transaction(name, number) for name, number in every.items()]
        rows = pa.concat_tables(tables)
        with storage(self.place):
            deltalake.write_deltalake(
                self.table,
                rows,
                mode="append",
                writer_properties=WRITER,
                commit_properties=CommitProperties(app_transactions=transactions),
            )

    def _counts(self, tables: Sequence[pa.Table]) -> dict[str, int]:
        numbers: dict[str, int] = {}
        for rows in tables:
            for (partition, day), part in parts(rows).items():
                names = f"count/{partition}/{day}", f"check/{partition}/{day}"
                added = part.num_rows, check_of(part)
                if names[0] not in numbers and self.number(names[0]) is None:
                    days = f"days/{partition}"
                    numbers[days] = numbers.get(days, self.number(days) or 0) + 1
                for name, number in zip(names, added, strict=True):
                    before = numbers[name] if name in numbers else self.number(name) or 0
                    numbers[name] = (before + number) % CHECK_BITS
        return numbers

    def of_day(self, partition: int, day: date) -> Any:
        """Return the files of a day of a partition as a dataset of Arrow; all files of years take long to list."""
        which = [("day", "=", day.isoformat()), ("partition", "=", str(partition))]
        return self.table.to_pyarrow_dataset(file_pruning_predicate=which)

    def days(self) -> dict[tuple[int, date], list[File]]:
        """Return the files of each partition and day, in the order of their first entries."""
        with storage(self.place):
            actions: Any = pa.table(self.table.get_add_actions(flatten=True))
        found: dict[tuple[int, date], list[File]] = {}
        for at in actions.select(list(_OF_FILE)).to_pylist():
            file = File(*(at[name] for name in _OF_FILE))
            found.setdefault((file.partition, file.day), []).append(file)
        return {key: sorted(found[key], key=lambda file: file.first_ms) for key in sorted(found)}


_OF_FILE = ("path", "size_bytes", "num_records", "min.id_ms", "max.id_ms", "partition.partition", "partition.day")


@dataclass(frozen=True, slots=True)
class File:
    """A file of the table. ``first_ms`` and ``last_ms`` are the arrivals of its first and its last entry."""

    path: str
    size: int
    rows: int
    first_ms: int
    last_ms: int
    partition: int
    day: date


def parts(rows: pa.Table) -> dict[tuple[int, date], pa.Table]:
    """Return the rows of each partition and day."""
    found = {}
    for partition in pc.unique(rows["partition"]).to_pylist():
        for day in pc.unique(rows["day"]).to_pylist():
            part = rows.filter((pc.field("partition") == partition) & (pc.field("day") == day))
            if part.num_rows:
                found[partition, day] = part
    return found


def open_tape(settings: Settings, version: int | None = None) -> Tape:
    """Open the tape to read it, at the newest version or at another one.

    Raise `NoTapeError` if there is none, `StorageError` if it cannot be read.
    """
    if not settings.tape:
        raise SettingsError("TFS_TAPE is empty, so there is no tape; set it to a folder or to s3://bucket/prefix")
    with storage(settings.tape):
        return Tape(DeltaTable(settings.tape, version, storage_options=options(settings.tape)), settings.tape)


def open_to_append(settings: Settings, deployment: str) -> Tape:
    """Open the tape to append to it; make it where there is none. Raise `TapeError` if it is of another deployment."""
    place = settings.tape
    about = {"partitions": str(settings.partitions), "deployment": deployment}
    try:
        tape = open_tape(settings)
    except NoTapeError:
        with storage(place), contextlib.suppress(CommitFailedError):  # another writer makes it at the same time
            if "://" not in place:
                Path(place).mkdir(parents=True, exist_ok=True)
            DeltaTable.create(
                place,
                SCHEMA,
                mode="ignore",  # it may be there by now
                partition_by=PARTITIONED_BY,
                configuration={"delta.logRetentionDuration": "interval 7 days"},  # of the commits before a checkpoint
                description=" ".join(f"{name}={value}" for name, value in about.items()),
                storage_options=options(place),
            )
        tape = open_tape(settings)
    of_tape(tape, settings)
    compare(tape, deployment)
    return tape


def compare(tape: Tape, deployment: str) -> None:
    """Raise `TapeError` if the tape is of another deployment."""
    theirs = _told(tape).get("deployment")
    if theirs and deployment and theirs != deployment:
        raise _other(tape, "deployment", theirs, deployment)


def of_tape(tape: Tape, settings: Settings) -> Settings:
    """Return the settings with the number of partitions of the tape: that with which it was made.

    Where the number was raised since, the tape keeps its own: the entries of log p stand in its partition p modulo that number. So the
    history of a symbol is in one partition of the tape. Raise `TapeError` where the tape is of another number.
    """
    theirs = _told(tape).get("partitions", "")
    if not theirs.isdecimal() or int(theirs) == settings.partitions:
        return settings
    if settings.partitions % int(theirs):
        raise _other(tape, "partitions", theirs, str(settings.partitions))
    return replace(settings, partitions=int(theirs), configured=0)


def _told(tape: Tape) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in (tape.table.metadata().description or "").split() if "=" in pair)


def _other(tape: Tape, what: str, theirs: str, ours: str) -> TapeError:
    return TapeError(
        f"the tape at {tape.place} is of {what} {theirs:.64}, and this is {ours:.64}; set TFS_TAPE to another place"
    )
