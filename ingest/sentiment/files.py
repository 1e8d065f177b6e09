"""Files of texts, parquet or CSV, read part by part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from feature_repo.stores.errors import UserError

ROWS_A_TABLE = 4096
_BLOCK_MAX = (1 << 31) - 1


class FileError(UserError):
    """A file cannot be used; the message says why."""


def count(path: Path) -> int | None:
    """Return the rows of a parquet file; None for a CSV file, which must be read to know."""
    return int(pq.ParquetFile(path).metadata.num_rows) if path.suffix.lower() == ".parquet" else None


def read_tables(path: Path, size: int) -> Iterator[Any]:
    """Yield tables of at most ``size`` rows in the order of the file, all with the same columns."""
    try:
        if path.suffix.lower() == ".parquet":
            for batch in pq.ParquetFile(path).iter_batches(batch_size=size):
                yield pa.Table.from_batches([batch])
        elif path.suffix.lower() == ".csv":
            # one block, so that all values decide a column's type, not those of the first megabyte
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
    """Return the values of a column; bytes are decoded as UTF-8, or else as Latin-1."""
    if name not in table.column_names:
        raise FileError(f"{path} has no column {name!r}; it has {', '.join(table.column_names)}")
    return [_decoded(value) if isinstance(value, bytes) else value for value in table.column(name).to_pylist()]


def texts(table: Any, name: str, path: Path) -> list[str]:
    """Return a column of texts; null is an empty text."""
    return ["" if value is None else str(value) for value in column(table, name, path)]


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
