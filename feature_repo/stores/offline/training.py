"""Training frames: a grid of moments, the features known at each, and the return of the price afterwards.

Features do not look ahead: a row counts from its ``created_timestamp`` on, and so does a correction. Only the label
looks ahead: ``forward_log_return_<h>s`` is ``ln(mid(t + h)/mid(t))``. There mid(t) is the last ``mid_price`` known at t,
and mid(t + h) the last one with event time in (t, t + h]. The label is null where either is missing or where its feed
had been silent for longer than the ttl of its view.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureStore
from psycopg import sql

from feature_repo.stores.errors import UserError
from feature_repo.stores.history import History, current
from feature_repo.stores.offline.join.lookup import Lookup
from feature_repo.stores.offline.join.retrieve import join
from feature_repo.stores.offline.join.spine import spine_of_frame
from feature_repo.stores.offline.session import snapshot
from feature_repo.stores.offline.tables.schema import SILENCE, is_managed
from transforms import catalog
from transforms.times import us_of_duration

SLICE: Final = 100_000  # rows: the bound of the memory that a frame of months needs
_UTC: Final = pa.timestamp("us", "UTC")


class FrameError(UserError, ValueError):
    """A frame of these symbols and times cannot be made; the message says why."""


def label_name(horizon: timedelta) -> str:
    """Return the name of the label's column.

    >>> label_name(timedelta(seconds=60)), label_name(timedelta(milliseconds=500))
    ('forward_log_return_60s', 'forward_log_return_0.5s')
    """
    return f"forward_log_return_{horizon.total_seconds():g}s"


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


def slices(
    store: FeatureStore,
    service: str,
    symbols: Sequence[str],
    start: datetime,
    end: datetime,
    every: timedelta,
    horizon: timedelta,
) -> Iterator[pa.Table]:
    """Yield the frame in tables of about `SLICE` rows, oldest first.

    Columns are ``symbol``, ``event_timestamp`` (UTC), the features of the feature service, the label. The grid has every
    symbol from `start` to `end`, both included and aware, in steps of `every`. The label looks `horizon` ahead, a
    millisecond or more. The metadata of the schema says under ``history`` which one was read. The offline store of `store`
    is a `TimescaleOfflineStore`.
    Raise `FrameError` where the frame cannot be made.
    """
    rows = grid_rows(symbols, start, end, every)
    if not symbols or horizon < timedelta(milliseconds=1):
        raise FrameError("at least one symbol and a horizon of a millisecond or more are needed")
    features = store.get_feature_service(service)
    moments = rows // len(symbols)
    step = max(1, SLICE // len(symbols))
    for first in range(0, moments, step):
        count = min(step, moments - first)
        times = pd.date_range(start + first * every, periods=count, freq=every).tz_convert("UTC").as_unit("us")
        frame = pd.DataFrame({"symbol": np.tile(list(symbols), count), "event_timestamp": times.repeat(len(symbols))})
        table = store.get_historical_features(frame, features, filter_by_created_timestamp=True).to_arrow()
        table = table.set_column(1, "event_timestamp", table.column("event_timestamp").cast(_UTC))
        table = table.append_column(label_name(horizon), _forward_return(store, frame, horizon))
        yield table.replace_schema_metadata({"history": history_of(store)})


def write_parquet(path: Path, tables: Iterator[pa.Table], progress: Callable[[int], Any] | None = None) -> int:
    """Write the tables of `slices` to one parquet file, and return the number of rows.

    The file appears under its name, or replaces the one there, only when it is whole. `progress` is called with the
    number of rows of each table.
    """
    part = path.with_name(f".{path.name}.part")
    written = 0
    writer: pq.ParquetWriter | None = None
    try:
        for table in tables:
            writer = writer or pq.ParquetWriter(part, table.schema, compression="zstd")
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


def _forward_return(store: FeatureStore, frame: pd.DataFrame, horizon: timedelta) -> pa.Array:
    ahead = us_of_duration(horizon)
    view = catalog.view_of("mid_price")
    oldest = view.ttl_s * 1_000_000
    managed = is_managed(store.get_feature_view(view.name))
    mid = Lookup(
        source=sql.Identifier(view.name),
        keys=(("symbol", "symbol"),),
        event="event_timestamp",
        created="created_timestamp",
        ttl=oldest,
        features=("mid_price",),
        names=("mid",),
        known=True,
        view=view.name,
        silence=SILENCE if managed else "",
        history=history_of(store) if managed else None,
        heard=oldest,
    )
    with snapshot(store.config.offline_store) as connection:
        now = join([connection], spine_of_frame(frame), [mid])
        later = frame.assign(event_timestamp=frame["event_timestamp"] + horizon)
        # No older than one microsecond less than the horizon: strictly after t.
        mid = replace(mid, ttl=min(oldest, ahead - 1), known=False)
        after = join([connection], spine_of_frame(later), [mid])
    with np.errstate(invalid="ignore"):
        logs = np.log(after.column("mid").to_numpy() / now.column("mid").to_numpy())
    return pa.array(logs, mask=np.isnan(logs))
