"""Reading the lake: which days may be read in a snapshot of the database, and row groups of their files."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from numpy.typing import NDArray

from feature_repo.stores.offline.binary.cells import at_every_byte
from feature_repo.stores.offline.lake import marks, plain, sources, tables
from feature_repo.stores.offline.lake.sources import Group
from feature_repo.stores.offline.lake.tables import KEY
from transforms.times import us_of_datetime

EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_OPEN: Final[dict[str, _Opened]] = {}
_LOCK: Final = threading.Lock()

_Ints = NDArray[np.int64]


class _Opened:
    """A table that stays open in this process, and the days of its newest version."""

    def __init__(self, table: DeltaTable, place: str) -> None:
        self.table = table
        self.place = place
        self._days: Mapping[date, tables.Day] = {}
        self._settled_us = 0
        self._version = -1

    def days(self) -> tuple[Mapping[date, tables.Day], int]:
        """Return the days, and from when on a snapshot may read them."""
        with tables.storage(self.place):
            if self._version >= 0:
                self.table.update_incremental()
            if self._version != self.table.version():
                self._days, self._settled_us = tables.days(self.table), tables.settled_us(self.table)
                self._version = self.table.version()
        return self._days, self._settled_us


@dataclass(frozen=True, slots=True)
class View:
    """The days of a view that may be read: those whose rows are the ones that the database has, by days since 1970.

    ``packed`` are the days that the database has in its columnstore, where a look-up takes longer.
    """

    table: DeltaTable
    place: str
    files: Mapping[int, tuple[tuple[str, int], ...]]
    packed: frozenset[int] = frozenset()

    @property
    def is_far(self) -> bool:
        """Whether the files are in S3, so that columns are read together and not one by one."""
        return "://" in self.place

    def rows(self, day: int) -> int:
        """Return how many rows a day has."""
        return sum(rows for _, rows in self.files[day])

    def groups(self, day: int) -> list[Group]:
        """Return the row groups of a day, sorted by symbol and event time."""
        found = [group for path, _ in self.files[day] for group in sources.groups_of(self._source(path))]
        return sorted(found, key=lambda group: (group.symbols, group.events))

    def read(self, groups: Sequence[Group], columns: Sequence[str]) -> pa.Table:
        """Return columns of row groups, in their order; symbols are dictionary-encoded."""
        parts = []
        for path in dict.fromkeys(group.path for group in groups):
            numbers = [group.number for group in groups if group.path == path]
            source = self._source(path)
            for column in columns:
                sources.column_of(source, column)
            with source.open() as opened:
                file = pq.ParquetFile(
                    opened, metadata=sources.metadata_of(source), read_dictionary=[KEY], pre_buffer=self.is_far
                )
                parts.append(file.read_row_groups(numbers, columns=list(columns), use_threads=True))
        return pa.concat_tables(parts).unify_dictionaries()

    def decoded(self, groups: Sequence[Group], columns: Sequence[str]) -> float:
        """Return how many row groups of a day have to be decoded to read columns of them; one of which a part is decoded counts so much."""
        if self.is_far:
            return len(groups)
        starts = sources.starts_of(self._source(groups[0].path), groups, columns)
        return float((starts == sources.NOWHERE).sum() / len(columns))

    def values(
        self, groups: Sequence[Group], columns: Sequence[str], group_of: _Ints, within: _Ints
    ) -> list[tuple[NDArray[Any], NDArray[np.bool_]] | None]:
        """Return single values of columns and which are not null, each from the row `within` the row group at position `group_of`.

        The columns have doubles or whole numbers. None for one whose values cannot be read alone: a row group has values and nulls in
        it, or packs it. The files are near, and the groups those of a day.
        """
        source = self._source(groups[0].path)
        starts = sources.starts_of(source, groups, columns)
        at = starts[:, group_of]
        values = at_every_byte(sources.mapped(source), "<i8")[np.where(at < 0, 0, at + plain.WIDTH * within)]
        return [
            None if (of_column == sources.NOWHERE).any() else (found.view(sources.column_of(source, name).dtype), valid)
            for name, of_column, found, valid in zip(columns, starts, values, at != plain.NULL, strict=True)
        ]

    def numbers(self, groups: Sequence[Group], columns: Sequence[str]) -> list[NDArray[Any]]:
        """Return whole columns of row groups of a day, which have times or numbers that are never null, times in microseconds."""
        if self.is_far:
            return [numbers_of(column)[0] for column in self.read(groups, columns).columns]
        count = sum(group.rows for group in groups)
        return [self.column(groups, name, np.empty(count))[0] for name in columns]

    def column(
        self, groups: Sequence[Group], column: str, into: NDArray[np.float64]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return one column of row groups, and which of its values are not null, None for all.

        As for `values`, but row groups whose values cannot be read alone are decoded. `into` has the values, and is as long as there are
        rows, or longer.
        """
        source = self._source(groups[0].path)
        ends = np.cumsum([group.rows for group in groups])
        parts = [slice(end - group.rows, end) for group, end in zip(groups, ends.tolist(), strict=True)]
        values = into[: ends[-1]].view(sources.column_of(source, column).dtype)
        starts = sources.starts_of(source, groups, [column])[0]
        with source.path_here.open("rb") as file:
            for i in np.flatnonzero(starts >= 0).tolist():
                # Copied by the system, because to map the pages of a whole column takes longer.
                if os.preadv(file.fileno(), [values[parts[i]].data], int(starts[i])) != plain.WIDTH * groups[i].rows:
                    raise OSError(f"{source.path} is cut off")
        if (starts >= 0).all():
            return values, None
        valid = np.repeat(starts >= 0, [group.rows for group in groups])
        values[~valid] = 0
        decoded = np.flatnonzero(starts == sources.NOWHERE).tolist()
        if decoded:
            at = np.concatenate([np.arange(parts[i].start, parts[i].stop) for i in decoded])
            values[at], valid[at] = numbers_of(self.read([groups[i] for i in decoded], [column]).column(0))
        return values, valid

    def _source(self, path: str) -> sources.Source:
        return sources.Source(self.place, path, self.table)


def view(connection: psycopg.Connection[Any], lake: str, name: tuple[str, ...]) -> View | None:
    """Return the days of a view that the lake has as the snapshot of the connection does, or None where there are none."""
    place = tables.place_of(lake, name[-1])
    with _LOCK:
        opened = _OPEN.get(place)
        if opened is None:
            table = tables.open_table(lake, name[-1])
            if table is None:
                return None
            opened = _OPEN[place] = _Opened(table, place)
        try:
            have, settled_us = opened.days()
        except tables.LakeError:  # made anew, perhaps
            del _OPEN[place]
            raise
    if not have or _began_us(connection) < settled_us:
        return None
    states = marks.states(connection, name)
    if states is None:
        return None
    readable = {day.toordinal() - EPOCH_ORDINAL: of.files for day, of in have.items() if of.state == states[day]}
    packed = frozenset(day.toordinal() - EPOCH_ORDINAL for day in states.packed)
    return View(opened.table, place, readable, packed) if readable else None


def _began_us(connection: psycopg.Connection[Any]) -> int:
    """Return when the transaction of the connection began, which is before its snapshot."""
    row = connection.execute("SELECT now()").fetchone()
    return us_of_datetime(row[0]) if row else 0


def forget(view: View) -> None:
    """Let the table be opened anew by the next join: a file of it could not be read."""
    with _LOCK:
        _OPEN.pop(view.place, None)


def numbers_of(column: pa.ChunkedArray) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the values of doubles, whole numbers or times in microseconds, 0 for null, and which are not null."""
    array = column.combine_chunks()
    array = array.view(pa.int64()) if pa.types.is_timestamp(array.type) else array
    valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False))
    return (pc.fill_null(array, 0) if array.null_count else array).to_numpy(), valid
