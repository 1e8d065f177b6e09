"""Training frames: moments of symbols, the features known at each, and labels that look ahead.

Features do not look ahead: a row counts from its ``created_timestamp`` on, and so does a correction. Only labels look ahead: the forward
return ``forward_log_return_<h>s`` is ``ln(mid(t + h)/mid(t))``. There mid(t) is the last ``mid_price`` known at t, and mid(t + h) the last
one with event time in (t, t + h]. A label is null where one of its prices is missing, where its prices have a hole, and beyond the newest
price; the column ``<label>_missing`` says which. ``docs/training.md`` describes all labels.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureStore

from feature_repo.stores.errors import UserError
from feature_repo.stores.history import History, current
from feature_repo.training.books import Books
from feature_repo.training.definitions import ForwardReturn, Label
from feature_repo.training.labelling import UTC_US, Labels, weighted
from feature_repo.training.prices import Ints
from feature_repo.training.sources import Source

SLICE: Final = 500_000  # rows: the bound of the memory that a frame of months needs, of which two are there at a time


class FrameError(UserError, ValueError):
    """A frame of these symbols and times cannot be made; the message says why."""


def label_name(horizon: timedelta) -> str:
    """Return the name of the column of a forward return of the mid.

    >>> label_name(timedelta(seconds=60)), label_name(timedelta(milliseconds=500))
    ('forward_log_return_60s', 'forward_log_return_0.5s')
    """
    return ForwardReturn(horizon).column


def history_of(store: FeatureStore) -> History:
    """Return the history that a frame of this store reads now (``feature_repo.stores.history``)."""
    return current(store.config.offline_store.history)


def grid_rows(symbols: Sequence[str], start: datetime, end: datetime, every: timedelta) -> int:
    """Return the number of rows of the frame of `slices`, for a progress bar; `FrameError` where it cannot be made."""
    if start.tzinfo is None or end.tzinfo is None:
        raise FrameError("start and end need a time zone")
    if every <= timedelta(0) or end < start:
        raise FrameError("the step must be positive and the end not before the start")
    return len(symbols) * ((end - start) // every + 1)


def grid(
    symbols: Sequence[str], start: datetime, end: datetime, every: timedelta, size: int | None = None
) -> Iterator[pd.DataFrame]:
    """Yield entity frames of about `size` rows (`SLICE`): every symbol at each time from `start` to `end`, in steps of `every`."""
    moments = grid_rows(symbols, start, end, every) // max(1, len(symbols))
    step = max(1, (size or SLICE) // max(1, len(symbols)))
    codes, categories = pd.factorize(np.array(symbols, object))
    for first in range(0, moments, step):
        times = pd.date_range(start + first * every, periods=min(step, moments - first), freq=every)
        times = times.tz_convert("UTC").as_unit("us")
        # As numbers of names, because a million texts take longer than a join of them.
        symbol = pd.Categorical.from_codes(np.tile(codes, len(times)), categories=categories)
        yield pd.DataFrame({"symbol": symbol, "event_timestamp": times.repeat(len(symbols))})


def sampled(moments: Mapping[str, Iterable[Ints]], size: int | None = None) -> Iterator[pd.DataFrame]:
    """Yield entity frames of about `size` rows (`SLICE`): each symbol at its own moments, such as the ends of its bars, in order of time.

    `moments` are pieces of sorted times of each symbol, in microseconds. As many as a frame has rows are in memory, and a piece a symbol.
    """
    merged = merge(*(_named(symbol, pieces) for symbol, pieces in moments.items()))
    while rows := list(islice(merged, size or SLICE)):
        times = pd.to_datetime(np.array([t for t, _ in rows]), unit="us", utc=True).as_unit("us")
        yield pd.DataFrame({"symbol": [symbol for _, symbol in rows], "event_timestamp": times})


def _named(symbol: str, pieces: Iterable[Ints]) -> Iterator[tuple[int, str]]:
    for piece in pieces:
        yield from ((t_us, symbol) for t_us in piece.tolist())


def slices(
    store: FeatureStore,
    service: str,
    symbols: Sequence[str],
    start: datetime,
    end: datetime,
    every: timedelta,
    horizon: timedelta | Sequence[Label],
    *,
    weights: bool = False,
) -> Iterator[pa.Table]:
    """Yield the frame of a regular grid: every symbol from `start` to `end`, both included and aware, in steps of `every`.

    `horizon` is that of the forward return of the mid, or the labels, whose prices are of the book. Else as `frames`.
    """
    grid_rows(symbols, start, end, every)
    if not symbols:
        raise FrameError("at least one symbol is needed")
    definitions = [ForwardReturn(horizon)] if isinstance(horizon, timedelta) else horizon
    labels = Labels(definitions, book_prices(store))
    yield from frames(store, service, grid(symbols, start, end, every), labels, weights=weights)


def book_prices(store: FeatureStore) -> dict[str, Source]:
    """Return the source of the prices that the offline store has."""
    return dict.fromkeys(("mid", "long", "short"), Books(store, history_of(store)))


def frames(
    store: FeatureStore,
    service: str,
    moments: Iterable[pd.DataFrame],
    labels: Labels | None = None,
    *,
    weights: bool = False,
) -> Iterator[pa.Table]:
    """Yield the frame, a table for each entity frame of `moments`, in order of time.

    Columns are ``symbol``, ``event_timestamp`` (UTC), the features of the feature service, and those of `labels` (`labelling`). With
    `weights` each label also has ``<label>_weight``, its average uniqueness among the labels of its symbol (`training.weights`). As many
    rows are then in memory as the longest label is long. The metadata of the schema says under ``history`` which one was read, and under
    ``features`` and ``labels``, as JSON, the columns of the features and the definitions of the labels. The offline store of `store` is
    a `TimescaleOfflineStore`.
    """
    features = store.get_feature_service(service)
    definitions = labels.definitions if labels else ()

    def tables() -> Iterator[pa.Table]:
        for frame in moments:
            table = store.get_historical_features(frame, features, filter_by_created_timestamp=True).to_arrow()
            table = table.set_column(1, "event_timestamp", table.column("event_timestamp").cast(UTC_US))
            names = table.column_names[2:]
            if labels:
                labels.check(names)
                table = labels.append(table)
            described = [{"column": label.column, **label.described()} for label in definitions]
            metadata = {"history": history_of(store), "features": json.dumps(names), "labels": json.dumps(described)}
            yield table.replace_schema_metadata(metadata)

    yield from weighted(tables(), definitions) if weights else tables()


def write_parquet(path: Path, tables: Iterator[pa.Table], progress: Callable[[int], Any] | None = None) -> int:
    """Write the tables of `slices` to one parquet file, and return the number of rows.

    A thread makes the next table meanwhile. The file appears under its name, or replaces the one there, only when it is whole.
    `progress` is called with the number of rows of each table.
    """
    part = path.with_name(f".{path.name}.part")
    written = 0
    writer: pq.ParquetWriter | None = None
    try:
        for table in _ahead(tables):
            writer = writer or _writer(part, table.schema)
            writer.write_table(table)
            written += table.num_rows
            if progress is not None:
                progress(table.num_rows)
        if writer is not None:
            writer.close()
            os.replace(part, path)
    finally:
        if writer is not None:
            writer.close()
        part.unlink(missing_ok=True)
    return written


def _ahead(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield the tables; a thread makes the next one while one is in use."""
    context = copy_context()  # which history is read

    def following() -> pa.Table | None:
        return context.run(lambda: next(tables, None))

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(following)
        while (table := coming.result()) is not None:
            coming = pool.submit(following)
            yield table


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a file. Doubles are written as they are: a dictionary of them costs time and saves nothing, and LZ4 is the quicker to read."""
    texts = [field.name for field in schema if not pa.types.is_floating(field.type)]
    return pq.ParquetWriter(path, schema, compression="lz4", use_dictionary=texts)
