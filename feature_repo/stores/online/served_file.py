"""The files of the log of what was served: Parquet, a row for each entity and view of a sampled answer.

A file is written under a name that begins with a dot and then renamed, so that a reader finds whole files alone. They lie in a folder
a day, ``day=2026-11-29/``. Names are made of times, process numbers and random letters: nothing that a request names is part of one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.stores.errors import UserError
from feature_repo.stores.online.format import DOUBLE_SIZE, DOUBLE_TAG, decode_int64, entity_of_key
from feature_repo.stores.online.record import EXACT, created_us
from feature_repo.stores.online.request import Answer
from feature_repo.stores.online.shape import NOT_FOUND, OUTSIDE_MAX_AGE, PRESENT, Shape
from transforms.times import datetime_of_us

_TIME: Final = pa.timestamp("us", "UTC")
_OTHERS: Final = pa.list_(pa.struct([("feature", pa.string()), ("value", pa.binary())]))
SCHEMA: Final = pa.schema(
    [
        ("time", _TIME),  # of the read: ttls counted against it
        ("service", pa.string()),  # the feature service; empty for a list of references
        ("view", pa.string()),
        ("join_key", pa.string()),  # with commas between, where there are several
        ("entity", pa.string()),  # its value; a JSON list of the values, where there are several
        ("status", pa.string()),  # PRESENT, NOT_FOUND or OUTSIDE_MAX_AGE
        ("event_timestamp", _TIME),  # null where no row was found
        ("created_timestamp", _TIME),  # null where the row does not say
        ("features", pa.list_(pa.string())),
        ("values", pa.list_(pa.float64())),  # as served: null is null, and all are null where the status is not PRESENT
        ("others", _OTHERS),  # values that no double says, as bytes of Feast's Value; theirs in `values` are null
    ]
)
_TEXTS: Final = ["service", "view", "join_key", "entity", "status", "features.list.element"]
_TIMES: Final = ["time", "event_timestamp", "created_timestamp"]
STATUSES: Final = {PRESENT: "PRESENT", NOT_FOUND: "NOT_FOUND", OUTSIDE_MAX_AGE: "OUTSIDE_MAX_AGE"}
COUNTS: Final = b"tfs:counts"
VALUES: Final = 500_000
"""About how many values of a file are made into rows at once."""
_DAY: Final = "day="
_DAY_NAME: Final = re.compile(_DAY + r"\d{4}-\d\d-\d\d")
_FILE_NAME: Final = re.compile(r"[^.].*\.parquet")


class ServedFileError(UserError, ValueError):
    """The log cannot be read: its folder is not there, or a file is none of it."""


@dataclass(slots=True)
class Counts:
    """What a file stands for: the reads since the file before it, those of them in it, and those that should be and are not."""

    share: float
    reads: int = 0
    sampled: int = 0
    dropped: int = 0


class Sample(NamedTuple):
    """An answer, and the time of the read in microseconds."""

    at_us: int
    answer: Answer


def write_file(folder: Path, samples: Sequence[Sample], counts: Counts) -> Path:
    """Write samples into a new file, and return its path."""
    schema = SCHEMA.with_metadata({COUNTS: json.dumps(asdict(counts))})
    begin = datetime_of_us(samples[0].at_us)
    name = f"{begin:%Y%m%dT%H%M%S}-{os.getpid()}-{uuid4().hex[:12]}"
    place = folder / f"{_DAY}{begin:%Y-%m-%d}"
    place.mkdir(parents=True, exist_ok=True)
    part, path = place / f".{name}.part", place / f"{name}.parquet"
    try:
        with open(part, "wb") as file:
            with pq.ParquetWriter(
                file, schema, compression="zstd", use_dictionary=_TEXTS, write_statistics=_TIMES
            ) as to:
                for some in _parts(samples):
                    to.write_table(rows_of(some))
            file.flush()
            os.fsync(file.fileno())  # else a power failure could leave the name without the bytes
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _parts(samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    """Yield the samples in parts of about `VALUES` values: the rows of one part take several times its memory."""
    first = n_values = 0
    for i, sample in enumerate(samples):
        n_values += sample.answer.table.values.size
        if n_values >= VALUES:
            yield samples[first : i + 1]
            first, n_values = i + 1, 0
    if first < len(samples):
        yield samples[first:]


def rows_of(samples: Sequence[Sample]) -> pa.Table:
    """Return the rows of samples; those that asked for the same features are put together first."""
    of_shape: dict[Shape, list[Sample]] = {}
    for sample in samples:
        of_shape.setdefault(sample.answer.table.shape, []).append(sample)
    return pa.concat_tables([table for shape, some in of_shape.items() for table in _rows_of_shape(shape, some)])


def _rows_of_shape(shape: Shape, samples: Sequence[Sample]) -> Iterator[pa.Table]:
    """Yield the rows of samples of one shape, view by view."""
    answers = [sample.answer for sample in samples]
    sizes = [len(answer.keys) for answer in answers]
    # Made for each part, because a cache would keep whatever readers ask for.
    of_key = {key: entity_of(key) for answer in answers for key in answer.keys}
    entities = [of_key[key] for answer in answers for key in answer.keys]
    same = {
        "time": _times(np.repeat([sample.at_us for sample in samples], sizes)),
        "service": _repeated([answer.service for answer in answers], sizes),
        "join_key": pa.array([join_key for join_key, _ in entities], pa.string()),
        "entity": pa.array([entity for _, entity in entities], pa.string()),
    }
    for v in (v for v, columns in enumerate(shape.of_view) if columns):
        made = same | _columns_of_view(shape, v, answers, len(entities))
        yield pa.table([made[field.name] for field in SCHEMA], schema=SCHEMA)


def _columns_of_view(shape: Shape, v: int, answers: Sequence[Answer], n: int) -> dict[str, pa.Array]:
    """Return the columns that are of one view, in `n` rows."""
    columns = shape.of_view[v]
    k = len(columns)
    names = [shape.columns[j][1] for j in columns]
    values = np.concatenate([answer.table.values[:, columns] for answer in answers])
    is_null = np.isnan(values)
    others = _put_cells(answers, columns, names, values, is_null)
    statuses = np.concatenate([answer.table.statuses[:, v] for answer in answers])
    event_us = np.concatenate([answer.table.event_us[:, v] for answer in answers])
    created = created_us(np.concatenate([answer.heads[:, v] for answer in answers]))
    offsets = pa.array(np.arange(0, n * k + 1, k, dtype=np.int32))
    return {
        "view": _repeated([shape.asked[v].view], [n]),
        "status": pa.DictionaryArray.from_arrays(pa.array(statuses), _STATUS_NAMES).dictionary_decode(),
        "event_timestamp": _times(event_us, statuses == NOT_FOUND),
        "created_timestamp": _times(created, (created == 0) | (statuses == NOT_FOUND)),
        "features": pa.ListArray.from_arrays(offsets, _decoded(np.tile(np.arange(k, dtype=np.int32), n), names)),
        "values": pa.ListArray.from_arrays(offsets, pa.array(values.ravel(), mask=is_null.ravel())),
        "others": pa.nulls(n, _OTHERS) if others is None else pa.array(others, _OTHERS),
    }


def _put_cells(
    answers: Sequence[Answer], columns: Sequence[int], names: Sequence[str], values: Any, is_null: Any
) -> list[Any] | None:
    """Put what is served as bytes into the values, where a double says it, and return the others; None if there are no bytes."""
    if not any(answer.table.cells.keys() & {*columns} for answer in answers):
        return None
    others: list[Any] = [None] * len(values)
    first = 0
    for answer in answers:
        for column, (j, name) in enumerate(zip(columns, names, strict=True)):
            for row, raw in enumerate(answer.table.cells.get(j, ()), first):
                number = number_of(raw) if raw else None
                is_null[row, column] = number is None
                values[row, column] = np.nan if number is None else number
                if raw and number is None:
                    others[row] = [*(others[row] or ()), {"feature": name, "value": raw}]
        first += len(answer.keys)
    return others


def number_of(raw: bytes) -> float | None:
    """Return the number in a serialised ``Value`` if a double says it exactly, a NaN too; else None."""
    if len(raw) == DOUBLE_SIZE and raw.startswith(DOUBLE_TAG):
        return float(np.frombuffer(raw[1:], "<f8")[0])
    whole = decode_int64(raw)
    return None if whole is None or abs(whole) > EXACT else float(whole)


def entity_of(key: bytes) -> tuple[str, str]:
    """Return the join key and the value of an entity as the log has them."""
    names, values = entity_of_key(key)
    return ",".join(names), str(values[0]) if len(values) == 1 else json.dumps(values)


_STATUS_NAMES: Final = pa.array([STATUSES.get(i, str(i)) for i in range(max(STATUSES) + 1)])


def _times(us: Any, is_null: Any = None) -> pa.Array:
    return pa.array(np.asarray(us, np.int64), mask=is_null).cast(_TIME)


def _repeated(texts: Sequence[str], sizes: Sequence[int]) -> pa.Array:
    return _decoded(np.repeat(np.arange(len(texts), dtype=np.int32), sizes), texts)


def _decoded(codes: Any, texts: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(texts, pa.string())).dictionary_decode()


def files(folder: Path, since: date, until: date) -> list[Path]:
    """Return the files that may hold reads of the days from `since` to `until`, both included, the oldest first.

    A file may begin before midnight and end after it. Raise `ServedFileError` if the folder is not there or may not be read.
    """
    first = str(since - timedelta(1)) if since > date.min else ""
    try:
        if not folder.is_dir():
            raise ServedFileError(f"{folder} is no folder: set TFS_SERVED_LOG to the folder that readers write to")
        days = [folder / name for name in sorted(os.listdir(folder)) if _DAY_NAME.fullmatch(name)]
        wanted = [day for day in days if first <= day.name.removeprefix(_DAY) <= str(until) and day.is_dir()]
        return [day / name for day in wanted for name in sorted(os.listdir(day)) if _FILE_NAME.fullmatch(name)]
    except PermissionError as error:  # `Path.glob` would find nothing
        raise ServedFileError(f"{error.filename} cannot be read by this user") from error


def read_file(path: Path, n_rows: int, add: Callable[[Counts], None]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file, at most `n_rows` at once, and hand its counts to `add`. Raise `ServedFileError` if it is none."""
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if not schema.remove_metadata().equals(SCHEMA):
                raise ServedFileError(f"{path} has other columns than the log of what was served")
            add(Counts(**json.loads((schema.metadata or {}).get(COUNTS, b'{"share": 0}'))))
            for batch in file.iter_batches(n_rows):
                batch.validate(full=True)  # texts that are no UTF-8, lists that end outside
                yield batch
    except (OSError, pa.ArrowException, ValueError, TypeError) as error:
        if isinstance(error, ServedFileError):
            raise
        raise ServedFileError(f"{path} cannot be read: {error}") from error
