"""Rows written to the online store a second: the view ``microstructure``, batches of 1, 50 and 500 symbols.

Prints JSON lines: columns through ``OnlineWriter`` beside ``store.push`` (a frame) and beside
``provider.online_write_batch`` (protobuf values that the caller built beforehand), both on Feast's own store. Every
row is newer than the one before, so every row is stored. The median of the rounds counts; the ratio is ours over peer.

    python -m bench.online_write
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from feast.data_source import PushMode
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from bench.online_stores import PROJECT, bench, report
from feature_repo.stores.online.write import OnlineWriter
from transforms.catalog import MICROSTRUCTURE

ROUNDS = {1: 100, 50: 30, 500: 15}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seconds(calls: dict[str, Callable[[int], Any]], rounds: int) -> dict[str, float]:
    """Return the median time of each call; the calls take turns, each with a time of its own, µs."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    begin_us = time.time_ns() // 1_000
    for i in range(rounds + 2):
        for name, call in calls.items():
            begin = time.perf_counter()
            call(begin_us + i)
            if i >= 2:
                taken[name].append(time.perf_counter() - begin)
    return {name: float(np.median(t)) for name, t in taken.items()}


def main() -> None:
    """Measure and print."""
    view = MICROSTRUCTURE
    with bench() as store:
        writer = OnlineWriter(store.client, PROJECT, view)
        provider, table = store.stock._get_provider(), store.stock.get_feature_view(view.name)
        for size, rounds in ROUNDS.items():
            values = np.random.default_rng(7).normal(size=(size, len(view.names)))
            values[:, view.index["book_valid"]] = 1.0
            values[:, view.index["microprice"]] = np.nan
            # Each writer has symbols of its own: a row of one is never refused for a newer one of another.
            symbols = [f"SYM{i}USDT" for i in range(size)]
            frame = pd.DataFrame(values, columns=list(view.names)).assign(symbol=[f"P{s}" for s in symbols])
            frame["book_valid"] = frame["book_valid"].astype("int64")
            protos = [
                {n: Value() if np.isnan(v) else Value(double_val=v) for n, v in zip(view.names, row, strict=True)}
                | {"book_valid": Value(int64_val=1)}
                for row in values.tolist()
            ]
            entities = [EntityKey(join_keys=["symbol"], entity_values=[Value(string_val=f"B{s}")]) for s in symbols]

            def ours(t_us: int, symbols: Any = symbols, values: Any = values) -> None:
                stored = writer.write(symbols, np.full(len(symbols), t_us), values)
                assert stored == len(symbols)

            def push(t_us: int, frame: Any = frame) -> None:
                frame["event_timestamp"] = EPOCH + timedelta(microseconds=t_us)
                store.stock.push(f"{view.name}_push_source", frame, to=PushMode.ONLINE)

            def batch(t_us: int, entities: Any = entities, protos: Any = protos) -> None:
                event = EPOCH + timedelta(microseconds=t_us)
                rows = [(e, p, event, None) for e, p in zip(entities, protos, strict=True)]
                provider.online_write_batch(store.stock.config, table, rows, None)

            taken = seconds({"ours": ours, "push": push, "batch": batch}, rounds)
            for peer, peer_name in (("push", "Feast store.push"), ("batch", "Feast provider.online_write_batch")):
                mine, other = size / taken["ours"], size / taken[peer]
                report("online_write", size, mine, peer_name, other, mine / other, "rows/s")


if __name__ == "__main__":
    main()
