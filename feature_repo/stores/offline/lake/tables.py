"""The Delta tables of the lake, one a view: making and opening them, and which files hold a day.

A table is partitioned by ``day``. Its rows are sorted by symbol, event time and created time. The commit that replaces the rows of a day
keeps them in one file, whose name begins with the state that the day had in the database (``marks``); a day without rows has a file, too.
Where another program has rewritten a day, its files have no such name. Each commit is an application transaction of one name, ``settled``,
so of two commits at once one is refused whole.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from feature_repo.stores.delta import options, told
from feature_repo.stores.errors import UserError
from feature_repo.stores.offline.tables.schema import KERNELS, RECOMPUTED, SILENCE, TYPES, Table

EVENT: Final = "event_timestamp"
CREATED: Final = "created_timestamp"
KEY: Final = "symbol"
DAY: Final = "day"
TIME: Final = pa.timestamp("us", "UTC")
_FEATURES: Final = {TYPES["Float64"]: pa.float64(), TYPES["Int64"]: pa.int64()}
_NAMED: Final = re.compile(r".*/([0-9a-f]{16})-[0-9a-f-]{36}\.parquet")


class LakeError(UserError, RuntimeError):
    """The storage of the lake refuses or does not answer; the message says what it said."""


class ConflictError(LakeError):
    """Another writer replaced the same day meanwhile; nothing of this commit is in the lake."""


@contextlib.contextmanager
def storage(place: str) -> Iterator[None]:
    """Turn what the storage raises into `LakeError`."""
    try:
        yield
    except CommitFailedError as error:
        raise ConflictError(f"another writer has written to the lake at {place}") from error
    except (DeltaError, TableNotFoundError, OSError) as error:
        raise LakeError(f"the lake at {place} cannot be used: {told(error)}") from None


@dataclass(frozen=True, slots=True)
class Day:
    """What the lake has of a day: the state of the database that it is of, None where it is of none, and its files, each with its rows."""

    state: int | None
    files: tuple[tuple[str, int], ...]


def fits(table: Table) -> bool:
    """Return whether the lake can hold a table: one that is managed, with one text key and features that are numbers."""
    return (
        table.managed
        and len(table.name) == 1
        and (table.event, table.created) == (EVENT, CREATED)
        and dict(table.keys) == {KEY: TYPES["String"]}
        and set(table.features.values()) <= _FEATURES.keys()
    )


def schema_of(table: Table) -> pa.Schema:
    """Return the columns of the lake's table."""
    return pa.schema(
        [
            pa.field(KEY, pa.string(), nullable=False),
            pa.field(EVENT, TIME, nullable=False),
            pa.field(CREATED, TIME, nullable=False),
            *(pa.field(name, _FEATURES[kind]) for name, kind in table.features.items()),
            pa.field(SILENCE, pa.int32()),
            pa.field(KERNELS, pa.int16()),
            pa.field(RECOMPUTED, pa.bool_(), nullable=False),
            pa.field(DAY, pa.date32(), nullable=False),
        ]
    )


def place_of(lake: str, name: str) -> str:
    """Return where the table of a view is; the name is one of the definitions, and never a path."""
    if not re.fullmatch(r"\w+", name):
        raise LakeError(f"a view of the lake must have a name of letters, digits and _, not {name!r:.80}")
    return f"{lake}/{name}"


def open_table(lake: str, name: str) -> DeltaTable | None:
    """Open the table of a view, or return None where there is none."""
    place = place_of(lake, name)
    with storage(place):
        try:
            return DeltaTable(place, storage_options=options(place))
        except TableNotFoundError:
            return None


def make_table(lake: str, table: Table) -> DeltaTable:
    """Open the lake's table of an offline table; make it where there is none."""
    found = open_table(lake, table.name[-1])
    if found is None:
        place = place_of(lake, table.name[-1])
        with storage(place):
            if "://" not in place:
                Path(place).mkdir(parents=True, exist_ok=True)
            found = DeltaTable.create(
                place,
                schema_of(table),
                mode="ignore",
                partition_by=[DAY],
                configuration={"delta.logRetentionDuration": "interval 7 days"},
                storage_options=options(place),
            )
    return found


def days(table: DeltaTable) -> dict[date, Day]:
    """Return the days that the lake has, also those without rows."""
    actions: Any = pa.table(table.get_add_actions(flatten=True))
    files: dict[date, list[tuple[str, int]]] = {}
    columns = (actions.column(name).to_pylist() for name in ("path", "num_records", f"partition.{DAY}"))
    for path, rows, day in zip(*columns, strict=True):
        files.setdefault(day, []).append((path, rows))
    return {day: Day(_state_of([path for path, _ in of_day]), tuple(of_day)) for day, of_day in sorted(files.items())}


def path_of(day: date, state: int) -> str:
    """Return the path of a new file that has the rows of a day in a state."""
    return f"{DAY}={day.isoformat()}/{state % 2**64:016x}-{uuid.uuid4()}.parquet"


def _state_of(paths: Sequence[str]) -> int | None:
    named = _NAMED.fullmatch(paths[0]) if len(paths) == 1 else None
    return int.from_bytes(bytes.fromhex(named[1]), "big", signed=True) if named else None


def settled_us(table: DeltaTable) -> int:
    """Return since when, by the clock of the database, snapshots have all rows that were written before their day closed.

    Newer than any time where nothing was written yet.
    """
    at = table.transaction_version("settled")
    return 2**63 - 1 if at is None else at
