"""Latency of online reads: every feature of the five views, for 1, 10, 50 and 200 symbols.

Prints JSON lines with p50 and p99 of this store beside Feast's own store and beside a bare redis-py pipeline of HMGET,
which decodes nothing. The three take turns, so they
meet the same noise. The ratio is peer over ours: 4 is four times
faster, and 0.33 against the bare pipeline is a third of its speed. ``online_read`` ends with Feast's response,
``online_read_to_dict`` with Python values out of it.

    python -m bench.online_read
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.online_stores import PROJECT, Bench, bench, report
from feature_repo.stores.online.format import SymbolKeys
from feature_repo.stores.online.request import request_fields
from feature_repo.stores.online.write import OnlineWriter
from transforms.catalog import VIEWS

ROUNDS = {1: 500, 10: 300, 50: 200, 200: 100}
TURN = 10


def fill(store: Bench, symbols: list[str]) -> None:
    """Write a row a view and symbol, dated ten minutes ahead so that none grows stale; three features are null."""
    rng = np.random.default_rng(7)
    times = np.full(len(symbols), time.time_ns() // 1_000 + 600_000_000)
    for view in VIEWS:
        values = np.round(rng.normal(size=(len(symbols), len(view.names))), 3) * 100_000
        null = [
            i for i, f in enumerate(view.features) if f.name in ("microprice", "relative_volume", "social_volume_z")
        ]
        values[:, null] = np.nan
        silent_us = rng.integers(1, 999_999, len(symbols))  # as a worker tells it
        OnlineWriter(store.client, PROJECT, view).write(symbols, times, np.floor(values), silent_us)


def measure(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Return p50 and p99 of each call in milliseconds.

    The calls take turns of ten, each after one that does not count: Feast keeps what it resolved from its registry in
    one place a process, and forgets it when another store reads.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds // TURN):
        for name, call in calls.items():
            call()
            for _ in range(TURN):
                begin = time.perf_counter()
                call()
                taken[name].append((time.perf_counter() - begin) * 1e3)
    return {name: (float(np.percentile(t, 50)), float(np.percentile(t, 99))) for name, t in taken.items()}


def main() -> None:
    """Measure and print."""
    with bench() as store:
        symbols = [f"SYM{i}USDT" for i in range(max(ROUNDS))]
        fill(store, symbols)
        keys = SymbolKeys(PROJECT, "symbol").keys(symbols)
        fields = list(request_fields(tuple((v.name, v.names) for v in VIEWS)).names)
        ours, stock = store.ours.get_feature_service("signal_v1"), store.stock.get_feature_service("signal_v1")
        for size, rounds in ROUNDS.items():
            rows = [{"symbol": s} for s in symbols[:size]]

            def bare(size: int = size) -> Any:
                pipe = store.client.pipeline(transaction=False)
                for key in keys[:size]:
                    pipe.hmget(key, fields)
                return pipe.execute()

            def of_ours(rows: Any = rows) -> Any:
                return store.ours.get_online_features(ours, rows)

            def of_stock(rows: Any = rows) -> Any:
                return store.stock.get_online_features(stock, rows)

            assert of_ours().to_dict() == of_stock().to_dict()
            called = measure({"ours": of_ours, "stock": of_stock, "bare": bare}, rounds)
            decoded = measure({"ours": lambda: of_ours().to_dict(), "stock": lambda: of_stock().to_dict()}, rounds)
            for name, result, peer, peer_name in (
                ("online_read", called, "stock", "Feast RedisOnlineStore"),
                ("online_read", called, "bare", "redis-py pipelined HMGET"),
                ("online_read_to_dict", decoded, "stock", "Feast RedisOnlineStore"),
            ):
                for i, quantile in enumerate(("p50", "p99")):
                    mine, other = result["ours"][i], result[peer][i]
                    report(f"{name}_{quantile}", size, mine, peer_name, other, other / mine, "ms")


if __name__ == "__main__":
    main()
