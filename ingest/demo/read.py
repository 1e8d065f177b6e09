"""The demo's reads, online and for training, and the checks on both."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Any

import pandas as pd
import psycopg
from feast import FeatureStore
from psycopg import sql
from rich.console import Console
from rich.table import Table

from feature_repo.stores.endpoints import postgres_url
from ingest.demo.data import columns_of, join_history
from ingest.demo.feed import DemoError
from transforms.catalog import FEATURE_VECTOR_V1, VIEWS, view_of

SERVICE = "feature_vector_v1"
MOMENTS = 20
"""Rows of the training frame for each symbol."""
RECENT_US = 200_000_000
"""The span of the training frame of a live market."""
SESSION_STARTS_S = 300
"""How long after 00:00 UTC a session may have too few trades for a volume profile."""
ROW_ARRIVES_S = 10.0
"""How long a row that is online may need to arrive offline."""
TRAINED = ("imbalance_l1", "spread_pct", "vpin", "sentiment_compound")
"""Columns of the training frame that are printed."""


def show(console: Console, store: FeatureStore, symbols: Sequence[str], span_us: tuple[int, int] | None) -> None:
    """Read both ways, print both, and check them.

    Parameters
    ----------
    span_us : tuple of int or None
        Begin and end of a recording. Online values are read as of its end, and it may be too short for some features.
        None for a live market with hours of history.

    Raises
    ------
    DemoError
        A value is missing, stale or different between the two paths; the message says which.
    """
    online = store._get_provider().online_store
    if span_us is not None:
        online.clock = lambda: span_us[1]
    service = store.get_feature_service(SERVICE)
    store.get_online_features(service, [{"symbol": symbols[0]}])  # the first read loads the registry
    began = time.perf_counter()
    response = store.get_online_features(service, [{"symbol": s} for s in symbols])
    took_ms = (time.perf_counter() - began) * 1000
    read = {k: v for k, v in response.to_dict().items() if k != "symbol"}
    _print_online(console, symbols, read)
    console.print(f"[bold]get_online_features[/] {len(symbols)} symbols, {len(read)} features in {took_ms:.1f} ms")
    _check_nulls(console, symbols, read, warm=span_us is None)
    n = _check_equal(store, symbols)
    console.print(
        f"[bold]online = offline[/] {n:,} values, each compared with the offline row of its time, bit for bit"
    )
    now_us = time.time_ns() // 1000
    _train(console, store, symbols, span_us or (now_us - RECENT_US, now_us))


def _print_online(console: Console, symbols: Sequence[str], read: dict[str, list[Any]]) -> None:
    table = Table("feature", *symbols, title=f"online: {SERVICE}")
    for name in FEATURE_VECTOR_V1:
        table.add_row(name, *("null" if v is None else f"{v:,.6g}" for v in read[name]))
    console.print(table)


def _check_nulls(console: Console, symbols: Sequence[str], read: dict[str, list[Any]], *, warm: bool) -> None:
    missing = {name for name, values in read.items() for value in values if value is None}
    if warm:
        if time.time() % 86_400 < SESSION_STARTS_S:
            missing.discard("volume_profile")  # a new session has not seen its 100 trades
        _hold(not missing, f"null after hours of history: {', '.join(sorted(missing))}")
    for name in sorted(missing):
        view = view_of(name)
        rule = next(f.null_when for f in view.features if f.name == name)
        console.print(f"  null: {name} ({rule or 'no feed'})", style="dim")
    fed = [name for name in read if view_of(name).name == "microstructure"]
    unread = [s for i, s in enumerate(symbols) if all(read[name][i] is None for name in fed)]
    _hold(not unread, f"no feature of the book of {', '.join(unread)} is online")


def _check_equal(store: FeatureStore, symbols: Sequence[str]) -> int:
    """Compare each served value with the offline row of its symbol and time; return how many were compared.

    A live feed goes on meanwhile: the offline row is looked up by the event time that was served, and may still be on its way.
    """
    n = 0
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        for view in VIEWS:
            names = [f"{view.name}:{name}" for name in view.names]
            response = store.get_online_features(names, [{"symbol": s} for s in symbols])
            columns = columns_of(response)
            read = response.to_dict()
            query = sql.SQL("SELECT {} FROM {} WHERE symbol = %s AND event_timestamp = %s").format(
                sql.SQL(", ").join(map(sql.Identifier, view.names)), sql.Identifier(view.name)
            )
            for i, symbol in enumerate(symbols):
                at = columns[view.names[0]].event_timestamps[i]
                if at.seconds == 0 or all(read[name][i] is None for name in view.names):
                    continue
                when = pd.Timestamp(at.seconds * 10**9 + at.nanos, tz="UTC").to_pydatetime()
                row = _poll(connection, query, (symbol, when))
                _hold(row is not None, f"{view.name} of {symbol} at {when} is online and not offline")
                for name, stored in zip(view.names, row or (), strict=True):
                    _hold(
                        _bits(read[name][i]) == _bits(stored),
                        f"{name} of {symbol} is {read[name][i]} online, {stored} offline",
                    )
                    n += 1
    return n


def _poll(connection: psycopg.Connection[Any], query: sql.Composed, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
    deadline = time.monotonic() + ROW_ARRIVES_S
    while (row := connection.execute(query, values).fetchone()) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return row


def _train(console: Console, store: FeatureStore, symbols: Sequence[str], span_us: tuple[int, int]) -> None:
    start, end = (pd.Timestamp(t, unit="us", tz="UTC") for t in span_us)
    times = pd.date_range(start, end, MOMENTS + 1)[1:].floor("ms")
    spine = [(s, t) for s in symbols for t in times]
    began = time.perf_counter()
    frame = join_history(store, spine, store.get_feature_service(SERVICE))
    took = time.perf_counter() - began
    _hold(len(frame) == len(spine), f"{len(spine)} rows asked for, {len(frame)} came")
    unread = [x for x in symbols if frame.loc[frame["symbol"] == x, "imbalance_l1"].isna().all()]
    _hold(not unread, f"imbalance_l1 is in no training row of {', '.join(unread)}")
    table = Table("symbol", "event_timestamp", *TRAINED, title="training frame, last rows")
    for row in frame.tail(4).itertuples():
        cells = (getattr(row, name) for name in TRAINED)
        table.add_row(row.symbol, str(row.event_timestamp), *("null" if pd.isna(v) else f"{v:,.6g}" for v in cells))
    console.print(table)
    console.print(
        f"[bold]get_historical_features[/] {len(frame)} rows of {frame.shape[1] - 2} features in {took:.2f} s"
    )


def summary(console: Console, done: dict[str, int]) -> None:
    """Print what was accepted, refused and written in this run, a line each."""
    for what in ("accepted", "refused", "rows"):
        parts = [f"{n:,} {name.partition('.')[2]}" for name, n in done.items() if name.startswith(f"{what}.") and n]
        console.print(f"[bold]{what}[/] {', '.join(parts) or 'none'}")


def _bits(value: float | None) -> bytes | None:
    return None if value is None else struct.pack("<d", value)


def _hold(held: bool, otherwise: str) -> None:
    if not held:
        raise DemoError(otherwise)
