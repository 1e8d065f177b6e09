"""The Parquet files of the lake: one a day, written symbol by symbol, so that a row group has rows of one symbol where it can."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction

from feature_repo.stores.delta import options
from feature_repo.stores.offline.lake import tables
from feature_repo.stores.offline.lake.tables import DAY, EVENT, KEY
from feature_repo.stores.offline.tables.schema import RECOMPUTED, SILENCE, Table

_LOOSE: Final = {pa.float64(), pa.int64(), tables.TIME}
GROUP_ROWS: Final = 16_384
"""Rows of a row group, which is what a join reads of a symbol at least."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A file that was written and is not yet part of the table: what a commit says of it, and how many rows it has."""

    action: AddAction
    rows: int


def schema_of(table: Table) -> pa.Schema:
    """Return the columns of the files; the day is in their path."""
    schema = tables.schema_of(table)
    return schema.remove(schema.get_field_index(DAY))


def storage_of(target: DeltaTable, place: str) -> pyarrow.fs.FileSystem:
    """Return the file system whose root is the table, which has the addresses and keys that deltalake reads from the environment."""
    if "://" not in place:
        return pyarrow.fs.SubTreeFileSystem(place, pyarrow.fs.LocalFileSystem(use_mmap=True))
    return pyarrow.fs.PyFileSystem(DeltaStorageHandler.from_table(target._table, options(place)))


def save(target: DeltaTable, place: str, table: Table, day: date, state: int, symbols: Iterable[pa.Table]) -> Saved:
    """Write the rows of a day in a state, given as a table for each symbol in order, into a new file."""
    path = tables.path_of(day, state)
    rows, first, last = 0, "", ""
    held: list[pa.Table] = []
    if "://" not in place:
        Path(place, path).parent.mkdir(parents=True, exist_ok=True)
    system = storage_of(target, place)
    with _writer(system, path, schema_of(table)) as writer:
        for part in symbols:
            first, last = first or part.column(KEY)[0].as_py(), part.column(KEY)[0].as_py()
            rows += part.num_rows
            held.append(part)
            if sum(one.num_rows for one in held) >= GROUP_ROWS:
                writer.write_table(pa.concat_tables(held), row_group_size=GROUP_ROWS)
                held.clear()
        if held:
            writer.write_table(pa.concat_tables(held), row_group_size=GROUP_ROWS)
    if "://" not in place:
        with Path(place, path).open("rb") as written:  # the commit must not outlive the rows where the machine stops
            os.fsync(written)
    bounds = {"minValues": {KEY: first}, "maxValues": {KEY: last}} if rows else {}
    statistics = {"numRecords": rows, **bounds, "nullCount": {KEY: 0, EVENT: 0}}
    size = system.get_file_info(path).size
    now_ms = int(time.time() * 1000)
    return Saved(AddAction(path, size, {DAY: day.isoformat()}, now_ms, True, json.dumps(statistics)), rows)


def _writer(system: pyarrow.fs.FileSystem, path: str, schema: pa.Schema) -> Any:
    return pq.ParquetWriter(
        path,
        schema,
        filesystem=system,
        # LZ4 is read three times faster than zstd. Features give little to either: they lie as they are, so that one can be read alone,
        # and times, so that they are copied without decoding (`plain`).
        compression={field.name: "none" if field.type in _LOOSE else "lz4" for field in schema},
        use_dictionary=[KEY],
        # By which a reader knows most of these columns without reading them.
        write_statistics=[KEY, EVENT, SILENCE, RECOMPUTED],
        data_page_size=8 << 20,  # one page a column and row group
    )
