"""Reading the lake: which days may be read in a snapshot of the database, and row groups of their files."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from numpy.typing import NDArray

from feature_repo.stores.offline.binary.cells import at_every_byte
from feature_repo.stores.offline.lake import files, marks, plain, tables
from feature_repo.stores.offline.lake.tables import EVENT, KEY
from transforms.times import us_of_datetime

EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
ANY_SYMBOL: Final = ("", chr(0x10FFFF))
"""Bounds of the symbols of a row group that has no statistics of them: they are left out where a text is very long."""
_OPEN: Final[dict[str, _Opened]] = {}
_LOCK: Final = threading.Lock()
_NOWHERE: Final = -1
_UNKNOWN: Final = -2

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
class Group:
    """A row group of a file: its position, how many rows it has, and bounds of its symbols and of its event times in microseconds."""

    path: str
    number: int
    rows: int
    symbols: tuple[str, str]
    events: tuple[int, int]


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
        found = [group for path, _ in self.files[day] for group in _groups(self._source(path))]
        return sorted(found, key=lambda group: (group.symbols, group.events))

    def read(self, groups: Sequence[Group], columns: Sequence[str]) -> pa.Table:
        """Return columns of row groups, in their order; symbols are dictionary-encoded."""
        parts = []
        for path in dict.fromkeys(group.path for group in groups):
            numbers = [group.number for group in groups if group.path == path]
            source = self._source(path)
            for column in columns:
                _position(source, column)
            with source.open() as opened:
                file = pq.ParquetFile(opened, metadata=_metadata(source), read_dictionary=[KEY], pre_buffer=self.is_far)
                parts.append(file.read_row_groups(numbers, columns=list(columns), use_threads=True))
        return pa.concat_tables(parts).unify_dictionaries()

    def values(self, groups: Sequence[Group], column: str, group_of: _Ints, within: _Ints) -> NDArray[Any] | None:
        """Return single values of one column, each from the row `within` the row group at position `group_of` in `groups`.

        `column` has doubles or whole numbers. None where a value cannot be read alone: a row group has a null in the column or packs it.
        The files are near, and the groups those of a day.
        """
        source = self._source(groups[0].path)
        starts = _starts(source, groups, column)
        if (starts == _NOWHERE).any():
            return None
        return np.asarray(
            at_every_byte(_mapped(source), _dtype(source, column))[starts[group_of] + plain.WIDTH * within]
        )

    def column(
        self, groups: Sequence[Group], column: str, into: NDArray[np.float64]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return one column of row groups, and which of its values are not null, None for all.

        As for `values`, but row groups that have a null or are packed are decoded. `into` has the values, and is as long as there are
        rows, or longer.
        """
        source = self._source(groups[0].path)
        ends = np.cumsum([group.rows for group in groups])
        parts = [slice(end - group.rows, end) for group, end in zip(groups, ends.tolist(), strict=True)]
        values = into[: ends[-1]].view(_dtype(source, column))
        starts = _starts(source, groups, column)
        with source.path_here.open("rb") as file:
            for i in np.flatnonzero(starts != _NOWHERE).tolist():
                # Copied by the system, because to map the pages of a whole column takes longer.
                if os.preadv(file.fileno(), [values[parts[i]].data], int(starts[i])) != plain.WIDTH * groups[i].rows:
                    raise OSError(f"{source.path} is cut off")
        decoded = np.flatnonzero(starts == _NOWHERE).tolist()
        if not decoded:
            return values, None
        found, is_valid = numbers_of(self.read([groups[i] for i in decoded], [column]).column(0))
        valid = np.ones(len(values), np.bool_)
        begin = 0
        for i in decoded:
            given = slice(begin, begin + groups[i].rows)
            values[parts[i]], valid[parts[i]] = found[given], is_valid[given]
            begin = given.stop
        return values, valid

    def _source(self, path: str) -> _Source:
        return _Source(self.place, path, self.table)


@dataclass(frozen=True, slots=True)
class _Source:
    """A file of a table. Two are equal where place and path are: a file of a Delta table never changes."""

    place: str
    path: str
    table: DeltaTable

    def __hash__(self) -> int:
        return hash((self.place, self.path))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Source) and (self.place, self.path) == (other.place, other.path)

    @property
    def path_here(self) -> Path:
        return Path(self.place, self.path)

    def open(self) -> Any:
        return files.storage_of(self.table, self.place).open_input_file(self.path)


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


@lru_cache(maxsize=64)
def _mapped(source: _Source) -> mmap:
    """Return the bytes of a file. They stay mapped: to map and unmap them for each column takes longer than to read a few values."""
    with source.path_here.open("rb") as file:
        return mmap(file.fileno(), 0, access=ACCESS_READ)


@lru_cache(maxsize=512)
def _metadata(source: _Source) -> pq.FileMetaData:
    with source.open() as opened:
        return pq.read_metadata(opened)


def numbers_of(column: pa.ChunkedArray) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the values of doubles or whole numbers, 0 for null, and which are not null."""
    array = column.combine_chunks()
    valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False))
    return (pc.fill_null(array, 0) if array.null_count else array).to_numpy(), valid


def _position(source: _Source, column: str) -> int:
    names = _metadata(source).schema.names
    if column not in names:  # it was written by a process with older definitions
        raise pa.ArrowKeyError(f"{source.path} has no column {column}")
    return int(names.index(column))


def _dtype(source: _Source, column: str) -> str:
    return plain.DTYPES[_metadata(source).schema.column(_position(source, column)).physical_type]


def _starts(source: _Source, groups: Sequence[Group], column: str) -> _Ints:
    """Return where the values of a column begin in the file for each row group, `_NOWHERE` where they do not lie there one by one."""
    found = _known_starts(source, column)
    numbers = np.array([group.number for group in groups])
    unknown = numbers[found[numbers] == _UNKNOWN].tolist()
    if unknown:
        metadata, position = _metadata(source), _position(source, column)
        with source.path_here.open("rb") as file:
            for number in unknown:
                place = plain.place_of(file, metadata.row_group(number).column(position))
                found[number] = _NOWHERE if place is None else place
    return np.asarray(found[numbers])


@lru_cache(maxsize=2048)
def _known_starts(source: _Source, column: str) -> _Ints:
    """Return what `_starts` has found out: a file never changes."""
    return np.full(_metadata(source).num_row_groups, _UNKNOWN, np.int64)


@lru_cache(maxsize=4096)
def _groups(source: _Source) -> tuple[Group, ...]:
    metadata = _metadata(source)
    names = (
        {metadata.row_group(0).column(i).path_in_schema: i for i in range(metadata.num_columns)}
        if metadata.num_row_groups
        else {}
    )
    found = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        symbols, events = (group.column(names[name]).statistics for name in (KEY, EVENT))
        between = (symbols.min, symbols.max) if symbols is not None and symbols.has_min_max else ANY_SYMBOL
        found.append(Group(source.path, number, group.num_rows, between, (events.min_raw, events.max_raw)))
    return tuple(found)
