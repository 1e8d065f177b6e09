"""Reads from the cache of a process (``client_cache``), and how old what they give is while the rows are written.

Prints JSON lines. ``online_cache_read``: one symbol and fifty, every feature of the five views, of rows that do not change,
beside Feast's own store. ``online_cache_loop``: the same with nothing between the reads; the peer is the time wanted of one
symbol. ``online_cache_staleness``: another process writes fifty symbols again and again
while this one reads them; how long after the writer knew that a row was stored the row before it was still given. The
ratio is the target, 20 ms at p99, over the result. ``online_cache_hits``: how many of these reads sent nothing.

    python -m bench.online_cache
"""

from __future__ import annotations

import importlib
import multiprocessing
import time
from typing import Any

import numpy as np

from bench.online_read import STOCK, fill, measure
from bench.online_stores import PROJECT, bench, report
from feature_repo.stores.online.client import address_of_url, connect
from feature_repo.stores.online.write import OnlineWriter
from transforms.catalog import SOCIAL

SYMBOLS = [f"SYM{i}USDT" for i in range(50)]
ROUNDS = 2_000
WRITES, EVERY_S = 400, 0.01
TARGET_MS, LOOP_MS = 20.0, 0.06


def write(url: str, begin_us: int, stored_at: Any) -> None:
    """Write all symbols again and again; each value is the number of its write, whose end is noted."""
    with connect(address_of_url(url), "redis") as client:
        writer = OnlineWriter(client, PROJECT, SOCIAL)
        for i in range(1, WRITES):
            values = np.full((len(SYMBOLS), len(SOCIAL.names)), float(i))
            writer.write(SYMBOLS, np.full(len(SYMBOLS), begin_us + i), values)
            stored_at[i] = time.perf_counter()  # of one clock for all processes
            time.sleep(EVERY_S)


def staleness(store: Any, url: str) -> tuple[list[float], float]:
    """Return how many milliseconds after it was replaced each value was still given, and the share of reads from the cache."""
    stored_at = multiprocessing.get_context("spawn").Array("d", WRITES, lock=False)
    begin_us = time.time_ns() // 1_000 + 3_600_000_000
    # The new process finds the function by this name; here the module may be __main__.
    target = importlib.import_module("bench.online_cache").write
    writer = multiprocessing.get_context("spawn").Process(target=target, args=(url, begin_us, stored_at))
    refs, rows = ["social:author_ratio_1h"], [{"symbol": s} for s in SYMBOLS]

    def read() -> Any:
        return store.ours.get_online_features(refs, rows).to_numpy()

    seen: list[tuple[float, float]] = []
    before = store.client.info("commandstats")["cmdstat_hmget"]["calls"]
    writer.start()
    while writer.is_alive():
        begin = time.perf_counter()
        seen += [(begin, value) for value in read()[:, 0].tolist()]
    writer.join()
    asked = store.client.info("commandstats")["cmdstat_hmget"]["calls"] - before
    known = np.array(stored_at)
    late = []
    for begin, value in seen:
        following = int(value) + 1 if value == value and 0 < value < WRITES else None
        if following is not None and following < WRITES and known[following]:
            late.append(max(0.0, (begin - known[following]) * 1e3))
    return late, 1 - asked / len(seen)


def main() -> None:
    """Measure and print."""
    with bench(client_cache=1_000) as store:
        fill(store, SYMBOLS)
        ours, stock = store.ours.get_feature_service("signal_v1"), store.stock.get_feature_service("signal_v1")
        for size in (1, len(SYMBOLS)):
            rows = [{"symbol": s} for s in SYMBOLS[:size]]
            calls = {
                "ours": lambda rows=rows: store.ours.get_online_features(ours, rows),
                "numpy": lambda rows=rows: store.ours.get_online_features(ours, rows).to_numpy(),
                "stock": lambda rows=rows: store.stock.get_online_features(stock, rows),
            }
            taken = measure(calls, ROUNDS // size)
            for i, quantile in enumerate(("p50", "p99")):
                for name, which in (("online_cache_read", "ours"), ("online_cache_read_to_numpy", "numpy")):
                    mine, other = taken[which][i], taken["stock"][i]
                    report(f"{name}_{quantile}", size, mine, STOCK, other, other / mine, "ms")
            for name, which in (("online_cache_loop_p50", "ours"), ("online_cache_loop_to_numpy_p50", "numpy")):
                mine, _ = measure({which: calls[which]}, ROUNDS)[which]
                report(name, size, mine, "target", LOOP_MS, LOOP_MS / mine, "ms", 1.0 if size == 1 else None)
        late, kept = staleness(store, store.ours.config.online_store.url)
        for percent in (50, 99, 100):
            mine = float(np.percentile(late, percent))
            report(
                f"online_cache_staleness_p{percent}",
                len(SYMBOLS),
                mine,
                "target",
                TARGET_MS,
                TARGET_MS / max(mine, 1e-3),
                "ms",
                1.0 if percent == 99 else None,
            )
        report("online_cache_hits", len(SYMBOLS), kept, "no cache", 0.0, 1.0, "share of reads")


if __name__ == "__main__":
    main()
