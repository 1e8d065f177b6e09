"""The demo's reads, online and for training, and the checks on both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pandas as pd
import psycopg
from feast import FeatureStore
from rich.console import Console
from rich.table import Table

from feature_repo.stores.endpoints import postgres_url
from ingest.check import consistency
from ingest.demo import data
from ingest.demo.feed import DemoError, Feed, Heard
from ingest.recordings.lines import POST
from transforms.catalog import view_of
from transforms.times import iso_of_us

MOMENTS = 20
"""Rows of the training frame for each symbol."""
RECENT_US = 200_000_000
"""The span of the training frame of a live market."""
GIVEN_BY = {"book": "mid_price", "trade": "market_hour", POST: "tweet_count"}
"""A feature that is there from the first message of its kind on, without a window that must be heard whole."""
TRAINED = ("imbalance_l1", "spread_pct", "vpin", "sentiment_compound")
"""Columns of the training frame that are printed."""


def show(feed: Feed, store: FeatureStore, symbols: Sequence[str], heard: Heard | None) -> None:
    """Read both ways, print both, and check them. Raise `DemoError` if a value is missing, stale or different between the two paths.

    `heard` is what recordings held: online values are read as of their end, and they may be too short for some features, or lack messages
    of some kind. It is None for a live market with hours of history.
    """
    console = feed.console
    if heard is not None:
        end_us = heard.span_us[1]
        store._get_provider().online_store.clock = lambda: end_us
    online = data.online(store, symbols)
    read = {row["feature"]: [cell["value"] for cell in row["cells"][: len(symbols)]] for row in online["rows"]}
    table = Table("feature", *symbols, title=f"online: {data.SERVICE}")
    for name, values in read.items():
        table.add_row(name, *map(_text, values))
    console.print(table)
    took = f"{len(symbols)} symbols, {len(read)} features in {online['took_ms']:.1f} ms"
    console.print(f"[bold]get_online_features[/] {took}")
    _check_nulls(console, read, warm=heard is None)
    compared = (
        f"{_check_equal(feed, store, symbols):,} values, each compared with the offline row of its time, bit for bit"
    )
    console.print(f"[bold]online = offline[/] {compared}")
    now_us = time.time_ns() // 1000
    frame = _train(console, store, symbols, heard.span_us if heard else (now_us - RECENT_US, now_us))
    if heard is None:
        unread = [x for x in symbols if frame.loc[frame["symbol"] == x, "imbalance_l1"].isna().all()]
        _hold(not unread, f"imbalance_l1 is in no training row of {', '.join(unread)}")
    else:
        _check_heard(feed, store, heard, list(zip(frame["symbol"], frame["event_timestamp"], strict=True)))
        for sentence in heard.lacks():
            console.print(f"[bold yellow]lacking[/] {sentence}", highlight=False)


def _check_nulls(console: Console, read: dict[str, list[Any]], *, warm: bool) -> None:
    missing = {name for name, values in read.items() for value in values if value is None}
    if warm:
        unexpected = missing - {"volume_profile"}  # its session began before the history, or has not had its 100 trades
        _hold(not unexpected, f"null after hours of history: {', '.join(sorted(unexpected))}")
    for name in sorted(missing):
        rule = next(f.null_when for f in view_of(name).features if f.name == name)
        console.print(f"  null: {name} ({rule or 'no feed'})", style="dim")


def _check_heard(feed: Feed, store: FeatureStore, heard: Heard, moments: Sequence[tuple[str, pd.Timestamp]]) -> None:
    """Check that each kind of message of each symbol gave values, in history and, while they are not too old, online."""
    ends = [(symbol, pd.Timestamp(at, unit="us", tz="UTC")) for (symbol, _), at in heard.last_us.items()]
    frame = data.join_history(store, [*moments, *ends], [f"{view_of(name).name}:{name}" for name in GIVEN_BY.values()])
    for (symbol, kind), last_us in heard.last_us.items():
        name = GIVEN_BY[kind]
        view = view_of(name)
        if kind == "book" and symbol in heard.lost:
            continue
        if frame.loc[frame["symbol"] == symbol, name].isna().all():
            newest_us = _newest(feed, store, symbol)
            if newest_us > heard.span_us[1]:
                raise DemoError(
                    f"{symbol} is at {iso_of_us(newest_us)} from an earlier demo, after all of these recordings: `make clean` begins anew"
                )
            raise DemoError(f"{name} of {symbol} is in no row of history, and the recordings hold its {kind}s")
        if heard.span_us[1] - last_us <= view.ttl_s * 1_000_000:
            online = store.get_online_features([f"{view.name}:{name}"], [{"symbol": symbol}]).to_dict()
            _hold(online[name] != [None], f"{name} of {symbol} is not online, and the recordings hold its {kind}s")


def _newest(feed: Feed, store: FeatureStore, symbol: str) -> int:
    """Return the time of the newest row of a symbol in microseconds, 0 without one."""
    return max((read.t_us for read in consistency.read_online(store, feed.client, [symbol])), default=0)


def _check_equal(feed: Feed, store: FeatureStore, symbols: Sequence[str]) -> int:
    """Compare each served value with the offline row of its symbol and time; return how many were compared.

    A live feed goes on meanwhile: the offline row is looked up by the event time that was served, and may still be on its way.
    """
    with psycopg.connect(postgres_url(), autocommit=True) as connection:
        reads = consistency.read_online(store, feed.client, symbols)
        found = consistency.compare(reads, feed.client, connection, feed.settings.partitions)
    absent = [f"{read.view.name} of {read.symbol} at {iso_of_us(read.t_us)}" for read in found.missing + found.waiting]
    _hold(not absent, f"online and not offline: {', '.join(absent[:5])}")
    differing = [f"{r.feature} of {r.example} online" for r in found.features.values() if r.differing]
    _hold(not differing, f"offline and online differ: {'; '.join(differing[:5])}")
    return found.outcomes()["equal"]


def _train(console: Console, store: FeatureStore, symbols: Sequence[str], span_us: tuple[int, int]) -> pd.DataFrame:
    """Print the end of a training frame over a span of time, and return the frame."""
    start, end = (pd.Timestamp(t, unit="us", tz="UTC") for t in span_us)
    times = pd.date_range(start, end, MOMENTS + 1)[1:].floor("ms")
    spine = [(s, t) for s in symbols for t in times]
    began = time.perf_counter()
    frame = data.join_history(store, spine, store.get_feature_service(data.SERVICE))
    took = time.perf_counter() - began
    _hold(len(frame) == len(spine), f"{len(spine)} rows asked for, {len(frame)} came")
    table = Table("symbol", "event_timestamp", *TRAINED, title="training frame, last rows")
    for row in frame.tail(4).itertuples():
        table.add_row(row.symbol, str(row.event_timestamp), *(_text(getattr(row, name)) for name in TRAINED))
    console.print(table)
    shape = f"{len(frame)} rows of {frame.shape[1] - 2} features"
    console.print(f"[bold]get_historical_features[/] {shape} in {took:.2f} s")
    return frame


def summary(console: Console, done: dict[str, int]) -> None:
    """Print what was accepted, refused and written in this run, a line each, and why messages were late."""
    for what in ("accepted", "refused", "rows"):
        parts = [f"{n:,} {name.partition('.')[2]}" for name, n in done.items() if name.startswith(f"{what}.") and n]
        console.print(f"[bold]{what}[/] {', '.join(parts) or 'none'}")
    if late := done.get("refused.late"):
        console.print(
            f"[bold yellow]late[/] {late:,} messages came after rows of later times were written, by an earlier demo or before them in the "
            "files, and were left out: `make clean` begins anew.",
            highlight=False,
        )


def _text(value: float | None) -> str:
    return "null" if pd.isna(value) else f"{value:,.6g}"


def _hold(held: bool, otherwise: str) -> None:
    if not held:
        raise DemoError(otherwise)
