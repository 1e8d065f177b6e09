"""What the demo prints and draws, all of it read from the stores by Feast's two reads and from the offline table."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pandas as pd
import psycopg
from feast import FeatureStore
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

from transforms.catalog import FEATURE_VECTOR_V1, view_of
from transforms.times import datetime_of_us, ms_of_datetime

SERVICE = "feature_vector_v1"
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
PROBES = {"microstructure": "mid_price", "order_flow": "trade_count_1m", "technical": "market_hour"}
"""One feature of each view whose latency is measured; every feature of a row comes with the row's time."""
PAUSE_S = 0.002
"""Seconds between two reads of that measurement."""


def series(store: FeatureStore, symbols: Sequence[str], start_us: int, end_us: int) -> dict[str, Any]:
    """Return each feature of ``SERIES`` for each symbol at equally spaced moments, by a point-in-time join."""
    span_us = end_us - start_us
    step_us = max(1_000_000, -(-span_us // POINTS // 1_000_000) * 1_000_000)
    times = pd.to_datetime(range(end_us - span_us // step_us * step_us, end_us + 1, step_us), unit="us", utc=True)
    frame = join_history(store, [(s, t) for s in symbols for t in times], _qualified(SERIES))
    out: dict[str, Any] = {"t": [t.value // 1_000_000 for t in times], "step_s": step_us // 1_000_000, "symbols": {}}
    for symbol, rows in frame.groupby("symbol"):
        ordered = rows.sort_values("event_timestamp")
        out["symbols"][symbol] = {name: [_number(v) for v in ordered[name]] for name in SERIES}
    return out


def online(store: FeatureStore, symbols: Sequence[str]) -> dict[str, Any]:
    """Return value, status and age of each feature of the vector, for each symbol and an unknown one, from one read."""
    names = [*symbols, ABSENT]
    service = store.get_feature_service(SERVICE)
    store.get_online_features(service, [{"symbol": names[0]}])  # the first read loads the registry
    began = time.perf_counter()
    response = store.get_online_features(service, [{"symbol": s} for s in names])
    took_ms = (time.perf_counter() - began) * 1000
    now_us = store._get_provider().online_store.clock()
    columns = _columns(response)
    values = response.to_dict()
    rows = []
    for name in FEATURE_VECTOR_V1:
        column, view = columns[name], view_of(name)
        cells = [
            {"value": _number(value), "status": str(FieldStatus.Name(status)), "age_ms": _age_ms(at, now_us)}
            for value, status, at in zip(values[name], column.statuses, column.event_timestamps, strict=True)
        ]
        unit = next(f.unit for f in view.features if f.name == name)
        rows.append({"feature": name, "view": view.name, "unit": unit, "ttl_s": view.ttl_s, "cells": cells})
    return {"symbols": names, "rows": rows, "took_ms": took_ms, "at_ms": now_us // 1000}


def example(store: FeatureStore, connection: psycopg.Connection, symbol: str, end_us: int) -> dict[str, Any] | None:
    """Return consecutive rows of ``mid_price``, moments between them, and what the join gives at each; None without rows.

    The join runs twice: by event time alone, and with ``filter_by_created_timestamp`` by what was readable then.
    """
    query = (
        "SELECT event_timestamp, created_timestamp, mid_price FROM microstructure"
        " WHERE symbol = %s AND event_timestamp <= %s AND mid_price IS NOT NULL AND NOT recomputed ORDER BY 1 DESC, 2 DESC LIMIT %s"
    )
    rows = connection.execute(query, (symbol, datetime_of_us(end_us), EXAMPLE_ROWS)).fetchall()[::-1]
    if len(rows) < EXAMPLE_ROWS or (rows[-1][0] - rows[0][0]).total_seconds() > 2 * EXAMPLE_ROWS:
        return None
    times = [rows[0][0] + timedelta(milliseconds=ms) for ms in EXAMPLE_MOMENTS_MS]
    moments: list[dict[str, Any]] = [{"t": ms_of_datetime(t)} for t in times]
    spine, features = [(symbol, t) for t in times], _qualified(["mid_price"])
    for how, by_created in (("by_event", False), ("by_created", True)):
        frame = join_history(store, spine, features, filter_by_created_timestamp=by_created)
        for moment, value in zip(moments, frame.sort_values("event_timestamp")["mid_price"], strict=True):
            moment[how] = _number(value)
    read = [{"t": ms_of_datetime(t), "readable": ms_of_datetime(known), "value": value} for t, known, value in rows]
    return {"symbol": symbol, "rows": read, "moments": moments}


def recorded_delays(connection: psycopg.Connection, symbols: Sequence[str], start_us: int, end_us: int) -> list[float]:
    """Return the milliseconds from each row's time to when it could be known, by the receive times of the recording."""
    query = (
        "SELECT extract(epoch FROM created_timestamp - event_timestamp) * 1000 FROM microstructure"
        " WHERE symbol = ANY(%s) AND event_timestamp BETWEEN %s AND %s AND NOT recomputed ORDER BY event_timestamp LIMIT 20000"
    )
    values = (list(symbols), datetime_of_us(start_us), datetime_of_us(end_us))
    return [float(ms) for (ms,) in connection.execute(query, values)]


def join_history(
    store: FeatureStore, spine: Sequence[tuple[str, pd.Timestamp]], features: Any, **options: Any
) -> pd.DataFrame:
    """Return features, or those of a service, at the symbols and times of the spine."""
    entities = pd.DataFrame(spine, columns=["symbol", "event_timestamp"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's own
        return store.get_historical_features(entities, features, **options).to_df()


def watch(store: FeatureStore, symbols: Sequence[str], seconds: float, clock: Any = time) -> list[float]:
    """Read online repeatedly for some seconds; return the milliseconds from each new row's boundary to the read that first gave it.

    A row that the first read gives is not counted, because its arrival was not seen. The figures include the time between two reads
    (some milliseconds) and what a row waits for: the allowed lateness.
    """
    features = [f"{view}:{name}" for view, name in PROBES.items()]
    entities = [{"symbol": s} for s in symbols]
    seen: dict[tuple[str, int], int] = {}
    delays: list[float] = []
    deadline = clock.time_ns() + int(seconds * 1e9)
    first = True
    while clock.time_ns() < deadline:
        response = store.get_online_features(features, entities)
        now_ns = clock.time_ns()
        columns = _columns(response)
        for name in PROBES.values():
            for i, at in enumerate(columns[name].event_timestamps):
                at_ns = at.seconds * 1_000_000_000 + at.nanos
                if at_ns > seen.get((name, i), 0):
                    seen[name, i] = at_ns
                    if not first:
                        delays.append((now_ns - at_ns) / 1e6)
        first = False
        clock.sleep(PAUSE_S)
    return delays


def _columns(response: Any) -> dict[str, Any]:
    """Return the columns of an online response by name, with their statuses and times."""
    return dict(zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True))


def _qualified(names: Sequence[str]) -> list[str]:
    return [f"{view_of(name).name}:{name}" for name in names]


def _age_ms(at: Any, now_us: int) -> float | None:
    return None if at.seconds == 0 else (now_us - at.ToMicroseconds()) / 1000


def _number(value: Any) -> float | None:
    return None if value is None or (isinstance(value, float) and not math.isfinite(value)) else value
