"""What the triggers of the lake cost the offline writer: ``append_rows`` of batches with them and without, in pairs.

Prints JSON lines: rows a second of 25 features with the triggers, beside those without; medians of the pairs, and ``ratio`` is their
quotient. Live rows are of today, which leave no marks; late rows are of one closed day, where each batch leaves a mark.

    python -m bench.lake_triggers
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import psycopg

from bench.offline_stores import START, SYMBOLS, bench, report
from feature_repo.stores.offline.append import append_rows
from feature_repo.stores.offline.lake import marks
from transforms.catalog import Feature, View

FEATURES = 25
PAIRS = 9
BATCHES = {20: 400, 1_000: 40, 10_000: 5}
"""Rows of a batch, which is a transaction, and how many batches are timed together."""


def main() -> None:
    """Measure and print."""
    names = [f"f0_{i}" for i in range(FEATURES)]
    view = View("view0", "trade", 300, "", tuple(Feature(n, "", -np.inf, np.inf, "") for n in names))
    rng = np.random.default_rng(7)
    with bench(views=1, features=FEATURES) as store, psycopg.connect(store.url, autocommit=True) as connection:
        marks.install(connection, ("view0",))
        for kind, since_us in (("live", time.time_ns() // 1_000), ("late", START.value // 1_000)):
            for size, count in BATCHES.items():
                values = rng.normal(size=(size, FEATURES))
                symbols = [f"SYM{1 + i % SYMBOLS}" for i in range(size)]
                rates: dict[str, list[float]] = {"ENABLE": [], "DISABLE": []}
                for turn in range(2 * PAIRS):
                    how = "ENABLE" if (turn + turn // 2) % 2 else "DISABLE"  # the first of a pair takes turns
                    connection.execute(f"ALTER TABLE view0 {how} TRIGGER USER")
                    connection.execute("TRUNCATE view0")
                    begin = time.perf_counter()
                    for batch in range(count):
                        event = since_us + (batch * size + np.arange(size, dtype=np.int64)) * 1_000
                        append_rows(connection, view, symbols, event, event, values)
                    rates[how].append(size * count / (time.perf_counter() - begin))
                ours, peer = (statistics.median(rates[how]) for how in ("ENABLE", "DISABLE"))
                report(f"lake_triggers, {kind} rows", size, ours, "no triggers", peer, "rows/s")


if __name__ == "__main__":
    main()
