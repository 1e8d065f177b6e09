"""Files of the lake: row groups with the bounds of their columns, as the footers say, and where columns lie in the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from numpy.typing import NDArray

from feature_repo.stores.offline.lake import files, plain
from feature_repo.stores.offline.lake.tables import EVENT, KEY
from feature_repo.stores.offline.tables.schema import RECOMPUTED, SILENCE

ANY_SYMBOL: Final = ("", chr(0x10FFFF))
"""Bounds of the symbols of a row group that has no statistics of them: they are left out where a text is very long."""
NOWHERE: Final = -2
"""The place of a column of a row group whose values do not lie in the file one by one."""
_UNKNOWN: Final = -3

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Group:
    """A row group of a file: its position, how many rows it has, and bounds of its columns: symbols, event times and silences.

    Times are in microseconds. ``silence`` is the longest in milliseconds, None where that is not known; ``recomputed`` is the value of all
    rows, None where there are both.
    """

    path: str
    number: int
    rows: int
    symbols: tuple[str, str]
    events: tuple[int, int]
    silence: int | None
    recomputed: bool | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file: its position, the type of its values, empty where they never lie there one by one, and whether it may be null."""

    position: int
    dtype: str
    nullable: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a table. Two are equal where place and path are: a file of a Delta table never changes."""

    place: str
    path: str
    table: DeltaTable

    def __hash__(self) -> int:
        return hash((self.place, self.path))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and (self.place, self.path) == (other.place, other.path)

    @property
    def path_here(self) -> Path:
        """Where a near file is."""
        return Path(self.place, self.path)

    def open(self) -> Any:
        """Open the file for Arrow."""
        return files.storage_of(self.table, self.place).open_input_file(self.path)


@lru_cache(maxsize=512)
def mapped(source: Source) -> pa.Buffer:
    """Return the bytes of a near file. They stay mapped: to map them for each join takes longer than to read a few values."""
    with pa.memory_map(str(source.path_here)) as file:  # what is mapped outlives the file that is open
        return file.read_buffer()


@lru_cache(maxsize=512)
def metadata_of(source: Source) -> pq.FileMetaData:
    """Return the footer of a file."""
    with source.open() as opened:
        return pq.read_metadata(opened)


def column_of(source: Source, name: str) -> Column:
    """Return a column of a file; raise ``ArrowKeyError`` where the file lacks it."""
    found = _columns(source).get(name)
    if found is None:  # it was written by a process with older definitions
        raise pa.ArrowKeyError(f"{source.path} has no column {name}")
    return found


@lru_cache(maxsize=512)
def _columns(source: Source) -> dict[str, Column]:
    schema = metadata_of(source).schema
    columns = [schema.column(i) for i in range(len(schema))]
    return {
        column.path: Column(i, plain.DTYPES.get(column.physical_type, ""), column.max_definition_level > 0)
        for i, column in enumerate(columns)
    }


def starts_of(source: Source, groups: Sequence[Group], names: Sequence[str]) -> _Ints:
    """Return where the values of each column begin in the file for each row group, ``plain.NULL`` where all are null.

    `NOWHERE` where they do not lie there one by one. The file is near.
    """
    columns = [column_of(source, name) for name in names]
    here = np.ix_([column.position for column in columns], [group.number for group in groups])
    known = _known_starts(source)
    unknown = np.argwhere(known[here] == _UNKNOWN).tolist()
    if unknown:
        metadata = metadata_of(source)
        with source.path_here.open("rb") as file:
            for i, j in unknown:
                chunk = metadata.row_group(groups[j].number).column(columns[i].position)
                place = plain.place_of(file, chunk, nullable=columns[i].nullable)
                known[columns[i].position, groups[j].number] = NOWHERE if place is None else place
    return known[here]


@lru_cache(maxsize=512)
def _known_starts(source: Source) -> _Ints:
    """Return what `starts_of` has found out of each column and row group: a file never changes."""
    metadata = metadata_of(source)
    return np.full((metadata.num_columns, metadata.num_row_groups), _UNKNOWN, np.int64)


@lru_cache(maxsize=4096)
def groups_of(source: Source) -> tuple[Group, ...]:
    """Return the row groups of a file, in its order."""
    metadata = metadata_of(source)
    found = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        symbols, events, silences, makers = (
            group.column(column_of(source, name).position).statistics for name in (KEY, EVENT, SILENCE, RECOMPUTED)
        )
        between = (symbols.min, symbols.max) if symbols is not None and symbols.has_min_max else ANY_SYMBOL
        longest = None
        if silences is not None and (silences.has_min_max or silences.null_count == group.num_rows):
            longest = max(0, silences.max or 0)
        is_one = makers is not None and makers.has_min_max and makers.min == makers.max
        found.append(
            Group(
                path=source.path,
                number=number,
                rows=group.num_rows,
                symbols=between,
                events=(events.min_raw, events.max_raw),
                silence=longest,
                recomputed=makers.min if is_one else None,
            )
        )
    return tuple(found)
