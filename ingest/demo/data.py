"""What the page shows, read from the stores and from nowhere else.

Series and the point-in-time example come from ``get_historical_features`` and from the offline table, values and statuses from
``get_online_features``, latencies from the online reads of ``latency.watch`` or from the offline table's own two times.
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
"""Moments of a series: more than a phone has pixels for."""
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
"""Read with the others, so that the page shows what an unknown symbol gives."""
EXAMPLE_ROWS = 7
EXAMPLE_MOMENTS_MS = (900, 2350, 4150, 5980)
"""Of the example's moments, from its first row on: between rows, right after one, and late in a second."""


def series(store: FeatureStore, symbols: Sequence[str], start_us: int, end_us: int) -> dict[str, Any]:
    """Each feature of ``SERIES`` for each symbol at equally spaced moments, by a point-in-time join."""
    step_us = max(1_000_000, -(-(end_us - start_us) // POINTS // 1_000_000) * 1_000_000)
    times = pd.to_datetime(
        range(end_us - (end_us - start_us) // step_us * step_us, end_us + 1, step_us), unit="us", utc=True
    )
    frame = _joined(store, [(s, t) for s in symbols for t in times], SERIES)
    out: dict[str, Any] = {"t": [t.value // 1_000_000 for t in times], "step_s": step_us // 1_000_000, "symbols": {}}
    for symbol, rows in frame.groupby("symbol"):
        ordered = rows.sort_values("event_timestamp")
        out["symbols"][symbol] = {name: [_number(v) for v in ordered[name]] for name in SERIES}
    return out


def online(store: FeatureStore, symbols: Sequence[str], clock_us: Callable[[], int]) -> dict[str, Any]:
    """The vector of each symbol and of one that is not there: value, status and age of each feature, from one read."""
    names = [*symbols, ABSENT]
    features = [f"{view_of(name).name}:{name}" for name in FEATURE_VECTOR_V1]
    store.get_online_features(features, [{"symbol": names[0]}])  # the first read loads what later ones have
    began = time.perf_counter()
    response = store.get_online_features(features, [{"symbol": s} for s in names])
    took_ms = (time.perf_counter() - began) * 1000
    now_us = clock_us()
    columns = dict(zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True))
    values = response.to_dict()
    rows = []
    for name in FEATURE_VECTOR_V1:
        column, view = columns[name], view_of(name)
        cells = [
            {
                "value": _number(values[name][i]),
                "status": _status(column.statuses[i]),
                "age_ms": _age_ms(column.event_timestamps[i], now_us),
            }
            for i in range(len(names))
        ]
        unit = next(f.unit for f in view.features if f.name == name)
        rows.append({"feature": name, "view": view.name, "unit": unit, "ttl_s": view.ttl_s, "cells": cells})
    return {"symbols": names, "rows": rows, "took_ms": took_ms, "at_ms": now_us // 1000}


def example(
    store: FeatureStore, connection: psycopg.Connection[Any], symbol: str, end_us: int
) -> dict[str, Any] | None:
    """Seven rows of ``mid_price`` around each other, four moments, and the row that the join gave each; None without rows.

    The join is asked twice: by event time alone, and with ``filter_by_created_timestamp`` by what could be read then.
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
        frame = _joined(store, [(symbol, t) for t in times], ("mid_price",), filter_by_created_timestamp=known)
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
    """For a recording: milliseconds from a row's time to when it could be known, by the recorder's receive times."""
    query = (
        "SELECT extract(epoch FROM created_timestamp - event_timestamp) * 1000 FROM microstructure"
        " WHERE symbol = ANY(%s) AND event_timestamp BETWEEN %s AND %s ORDER BY event_timestamp LIMIT 20000"
    )
    span = [pd.Timestamp(t, unit="us", tz="UTC").to_pydatetime() for t in (start_us, end_us)]
    return [float(ms) for (ms,) in connection.execute(query, (list(symbols), *span)).fetchall()]


def _joined(
    store: FeatureStore, spine: Sequence[tuple[str, pd.Timestamp]], names: Sequence[str], **options: Any
) -> pd.DataFrame:
    entities = pd.DataFrame(spine, columns=["symbol", "event_timestamp"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's own
        return store.get_historical_features(entities, [f"{view_of(n).name}:{n}" for n in names], **options).to_df()


def _status(number: int) -> str:
    from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

    return str(FieldStatus.Name(number))


def _age_ms(at: Any, now_us: int) -> float | None:
    return None if at.seconds == 0 else (now_us - at.seconds * 1_000_000 - at.nanos // 1000) / 1000


def _ms(when: Any) -> int:
    return int(pd.Timestamp(when).value // 1_000_000)


def _number(value: Any) -> float | None:
    return None if value is None or (isinstance(value, float) and not math.isfinite(value)) else value
