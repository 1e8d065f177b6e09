"""What the page shows, all of it read from the stores.

Series and the point-in-time example come from ``get_historical_features`` and from the offline table, values and statuses from
``get_online_features``, latencies from the online reads of ``latency.watch`` or from the two times of the offline rows.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import psycopg
from feast import FeatureStore
from psycopg import sql

from transforms.catalog import FEATURE_VECTOR_V1, view_of

POINTS = 360
"""Moments of a series; a phone has fewer pixels."""
SERIES: tuple[str, ...] = (
    "mid_price",
    "imbalance_l5",
    "buy_volume_1m",
    "sell_volume_1m",
    "vpin",
    "sentiment_ew_15m",
    "sentiment_compound_1h",
    "tweet_count",
)
ABSENT = "NO-SUCH-SYMBOL"
"""Read with the others, so that the page shows what an unknown symbol returns."""
EXAMPLE_ROWS = 7
EXAMPLE_MOMENTS_MS = (900, 2350, 4150, 5980)
"""The example's moments after its first row: between rows, right after one, and late in a second."""


def series(store: FeatureStore, symbols: Sequence[str], start_us: int, end_us: int) -> dict[str, Any]:
    """Return each feature of ``SERIES`` for each symbol at equally spaced moments, by a point-in-time join."""
    step_us = max(1_000_000, -(-(end_us - start_us) // POINTS // 1_000_000) * 1_000_000)
    times = pd.to_datetime(
        range(end_us - (end_us - start_us) // step_us * step_us, end_us + 1, step_us), unit="us", utc=True
    )
    frame = join_history(store, [(s, t) for s in symbols for t in times], _qualified(SERIES))
    out: dict[str, Any] = {"t": [t.value // 1_000_000 for t in times], "step_s": step_us // 1_000_000, "symbols": {}}
    for symbol, rows in frame.groupby("symbol"):
        ordered = rows.sort_values("event_timestamp")
        out["symbols"][symbol] = {name: [_number(v) for v in ordered[name]] for name in SERIES}
    return out


def online(store: FeatureStore, symbols: Sequence[str], clock_us: Callable[[], int]) -> dict[str, Any]:
    """Return value, status and age of each feature of the vector, for each symbol and an unknown one, from one read."""
    names = [*symbols, ABSENT]
    features = _qualified(FEATURE_VECTOR_V1)
    store.get_online_features(features, [{"symbol": names[0]}])  # the first read loads the registry
    began = time.perf_counter()
    response = store.get_online_features(features, [{"symbol": s} for s in names])
    took_ms = (time.perf_counter() - began) * 1000
    now_us = clock_us()
    columns = columns_of(response)
    values = response.to_dict()
    rows = []
    for name in FEATURE_VECTOR_V1:
        column, view = columns[name], view_of(name)
        cells = [
            {"value": _number(value), "status": _status(status), "age_ms": _age_ms(at, now_us)}
            for value, status, at in zip(values[name], column.statuses, column.event_timestamps, strict=True)
        ]
        unit = next(f.unit for f in view.features if f.name == name)
        rows.append({"feature": name, "view": view.name, "unit": unit, "ttl_s": view.ttl_s, "cells": cells})
    return {"symbols": names, "rows": rows, "took_ms": took_ms, "at_ms": now_us // 1000}


def example(
    store: FeatureStore, connection: psycopg.Connection[Any], symbol: str, end_us: int
) -> dict[str, Any] | None:
    """Return consecutive rows of ``mid_price``, moments between them, and what the join gives at each; None without rows.

    The join runs twice: by event time alone, and with ``filter_by_created_timestamp`` by what was readable then.
    """
    query = sql.SQL(
        "SELECT event_timestamp, created_timestamp, mid_price FROM microstructure"
        " WHERE symbol = %s AND event_timestamp <= %s AND mid_price IS NOT NULL ORDER BY 1 DESC, 2 DESC LIMIT %s"
    )
    end = pd.Timestamp(end_us, unit="us", tz="UTC").to_pydatetime()
    rows = connection.execute(query, (symbol, end, EXAMPLE_ROWS)).fetchall()[::-1]
    if len(rows) < EXAMPLE_ROWS or (rows[-1][0] - rows[0][0]).total_seconds() > 2 * EXAMPLE_ROWS:
        return None
    first = pd.Timestamp(rows[0][0])
    times = [first + pd.Timedelta(milliseconds=ms) for ms in EXAMPLE_MOMENTS_MS]
    found = {}
    for known in (False, True):
        spine, features = [(symbol, t) for t in times], _qualified(["mid_price"])
        frame = join_history(store, spine, features, filter_by_created_timestamp=known)
        found[known] = [_number(v) for v in frame.sort_values("event_timestamp")["mid_price"]]
    return {
        "symbol": symbol,
        "rows": [{"t": _ms(event), "readable": _ms(created), "value": value} for event, created, value in rows],
        "moments": [
            {"t": _ms(t), "by_event": a, "by_created": b}
            for t, a, b in zip(times, found[False], found[True], strict=True)
        ],
    }


def recorded_delays(
    connection: psycopg.Connection[Any], symbols: Sequence[str], start_us: int, end_us: int
) -> list[float]:
    """Return the milliseconds from each row's time to when it could be known, by the receive times of the recording."""
    query = (
        "SELECT extract(epoch FROM created_timestamp - event_timestamp) * 1000 FROM microstructure"
        " WHERE symbol = ANY(%s) AND event_timestamp BETWEEN %s AND %s ORDER BY event_timestamp LIMIT 20000"
    )
    span = [pd.Timestamp(t, unit="us", tz="UTC").to_pydatetime() for t in (start_us, end_us)]
    return [float(ms) for (ms,) in connection.execute(query, (list(symbols), *span)).fetchall()]


def join_history(
    store: FeatureStore, spine: Sequence[tuple[str, pd.Timestamp]], features: Any, **options: Any
) -> pd.DataFrame:
    """Return features, or those of a service, at the symbols and times of the spine."""
    entities = pd.DataFrame(spine, columns=["symbol", "event_timestamp"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's own
        return store.get_historical_features(entities, features, **options).to_df()


def columns_of(response: Any) -> dict[str, Any]:
    """Return the columns of an online response by name, with their statuses and times."""
    return dict(zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True))


def _qualified(names: Sequence[str]) -> list[str]:
    return [f"{view_of(name).name}:{name}" for name in names]


def _status(number: int) -> str:
    from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

    return str(FieldStatus.Name(number))


def _age_ms(at: Any, now_us: int) -> float | None:
    return None if at.seconds == 0 else (now_us - at.seconds * 1_000_000 - at.nanos // 1000) / 1000


def _ms(when: Any) -> int:
    return int(pd.Timestamp(when).value // 1_000_000)


def _number(value: Any) -> float | None:
    return None if value is None or (isinstance(value, float) and not math.isfinite(value)) else value
