"""Files of texts, parquet or CSV, read and written a part at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from feature_repo.stores.errors import UserError

_BLOCK_MAX = (1 << 31) - 1


class FileError(UserError):
    """A file cannot be used; the message says why."""


def count(path: Path) -> int | None:
    """Rows of a parquet file; None of a CSV file, whose rows are known when it has been read."""
    return int(pq.ParquetFile(path).metadata.num_rows) if path.suffix.lower() == ".parquet" else None


def read_tables(path: Path, size: int) -> Iterator[Any]:
    """Tables of ``size`` rows at most, in the order of the file; every table has the same columns.

    Raises
    ------
    FileError
        No such file, or not parquet or CSV.
    """
    try:
        if path.suffix.lower() == ".parquet":
            for batch in pq.ParquetFile(path).iter_batches(batch_size=size):
                yield pa.Table.from_batches([batch])
        elif path.suffix.lower() == ".csv":
            # One block: a column's type is what all of its values are, not what those of the first megabyte are.
            block = min(max(path.stat().st_size, 1), _BLOCK_MAX)
            table = pyarrow.csv.read_csv(
                path,
                read_options=pyarrow.csv.ReadOptions(block_size=block),
                parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            )
            for start in range(0, table.num_rows, size):
                yield table.slice(start, size)
        else:
            raise FileError(f"{path} is neither .parquet nor .csv")
    except (OSError, pa.ArrowException) as error:
        raise FileError(f"{path} cannot be read: {error}") from error


def column(table: Any, name: str, path: Path) -> list[Any]:
    """One column's values; bytes are text in UTF-8, or else in Latin-1.

    Raises
    ------
    FileError
        There is no such column.
    """
    if name not in table.column_names:
        raise FileError(f"{path} has no column {name!r}; it has {', '.join(table.column_names)}")
    return [_decoded(value) if isinstance(value, bytes) else value for value in table.column(name).to_pylist()]


def texts(table: Any, name: str, path: Path) -> list[str]:
    """A column of texts; a missing one is empty."""
    return ["" if value is None else str(value) for value in column(table, name, path)]


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
