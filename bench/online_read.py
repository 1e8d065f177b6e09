"""Latency of online reads: every feature of the five views, for 1, 10, 50 and 200 symbols.

Prints JSON lines with p50 and p99 of this store beside Feast's own store and beside a bare redis-py pipeline of HMGET,
which decodes nothing. They take turns, so they meet the same noise. Feast's store and the bare pipeline read rows without
records, as Feast writes them. The ratio is peer over ours: 4 is four times faster; `TARGETS` says which ratios are wanted.
``online_read`` ends with the response;
``online_read_to_dict``, ``_to_df`` and ``_to_numpy`` with what a caller takes out of it. Feast has no ``to_numpy``: its peer
is ``to_df().to_numpy()`` of the features.

    python -m bench.online_read
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bench.online_stores import PLAIN, PROJECT, Bench, bench, report
from feature_repo.stores.online.format import SymbolKeys, decode_time, encode_time, time_field
from feature_repo.stores.online.shape import Asked
from feature_repo.stores.online.write import OnlineWriter
from transforms.catalog import SIGNAL_V1 as VIEWS

STOCK = "Feast RedisOnlineStore"
TAKEN: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = [
    ("to_dict", lambda r: r.to_dict(), lambda r: r.to_dict()),
    ("to_df", lambda r: r.to_df(), lambda r: r.to_df()),
    ("to_numpy", lambda r: r.to_numpy(), lambda r: r.to_df().drop(columns="symbol").to_numpy(float)),
]
ROUNDS = {1: 500, 10: 300, 50: 200, 200: 100}
TURN = 10
TARGETS = {
    ("online_read_p50", 1, "stock"): 4.0,
    ("online_read_p50", 50, "stock"): 12.0,
    ("online_read_p50", 50, "bare"): 2.5,
    ("online_read_p50", 200, "stock"): 15.0,
}
TO_NUMPY_MS = 1.0  # wanted of fifty symbols, p50


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
    pairs = zip(*(SymbolKeys(project, "symbol").keys(symbols) for project in (PROJECT, PLAIN)), strict=True)
    for key, plain in pairs:
        row: Any = store.client.hgetall(key)
        for view in VIEWS:
            row[time_field(view.name)] = encode_time(decode_time(row[time_field(view.name)]))
        store.client.hset(plain, mapping=row)


def measure(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
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
        keys = SymbolKeys(PLAIN, "symbol").keys(symbols)
        fields = [name for view in VIEWS for name in Asked(view.name, view.names, None).plain]
        ours, stock = store.ours.get_feature_service("signal_v1"), store.stock.get_feature_service("signal_v1")
        for size, rounds in ROUNDS.items():
            rows = [{"symbol": s} for s in symbols[:size]]

            def bare(size: int = size) -> Any:
                pipe: Any = store.client.pipeline(transaction=False)
                for key in keys[:size]:
                    pipe.hmget(key, fields)
                return pipe.execute()

            def of_ours(rows: Any = rows) -> Any:
                return store.ours.get_online_features(ours, rows)

            def of_stock(rows: Any = rows) -> Any:
                return store.stock.get_online_features(stock, rows)

            assert of_ours().to_dict() == of_stock().to_dict()
            called = measure({"ours": of_ours, "stock": of_stock, "bare": bare}, rounds)
            results = [
                ("online_read", called, "stock", STOCK),
                ("online_read", called, "bare", "redis-py pipelined HMGET"),
            ]
            for name, mine, theirs in TAKEN:
                calls = {
                    "ours": lambda mine=mine, read=of_ours: mine(read()),
                    "stock": lambda theirs=theirs, read=of_stock: theirs(read()),
                }
                results.append((f"online_read_{name}", measure(calls, rounds // 2), "stock", STOCK))
            for name, result, peer, peer_name in results:
                for i, quantile in enumerate(("p50", "p99")):
                    own, other = result["ours"][i], result[peer][i]
                    target = TARGETS.get((f"{name}_{quantile}", size, peer))
                    report(f"{name}_{quantile}", size, own, peer_name, other, other / own, "ms", target)
            if size == 50:
                own = results[-1][1]["ours"][0]  # of `to_numpy`
                report("online_read_to_numpy_p50", size, own, "target", TO_NUMPY_MS, TO_NUMPY_MS / own, "ms", 1.0)


if __name__ == "__main__":
    main()
