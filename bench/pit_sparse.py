"""Point-in-time join of few entity rows: 20 symbols of one-second rows for a day, 20 features, ttl 5 minutes.

Prints JSON lines: seconds of ``get_historical_features(...).to_df()`` beside Feast's own PostgreSQL store on the same
tables, after comparing every value. Ours is the median of five, with Feast's one run in the middle of them. A ratio of
50 is fifty times faster.

    python -m bench.pit_sparse
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import pandas as pd

from bench.offline_stores import SECONDS, START, SYMBOLS, bench, fill, references, report

SIZES = (100, 1_000, 5_000)
ROUNDS = 5


def main() -> None:
    """Measure and print."""
    with bench(views=1, features=20) as store:
        fill(store)
        features = references(store)
        rng = np.random.default_rng(7)
        for size in SIZES:
            frame = pd.DataFrame(
                {
                    "symbol": [f"SYM{1 + i}" for i in rng.integers(0, SYMBOLS, size)],
                    "event_timestamp": START + pd.to_timedelta(rng.uniform(0, SECONDS, size), unit="s").round("us"),
                    "number": np.arange(size),
                }
            )
            taken: dict[str, list[float]] = {"ours": [], "stock": []}
            results: dict[str, Any] = {}
            sides = [("ours", store.ours)] * ROUNDS
            for name, side in [*sides[: ROUNDS // 2], ("stock", store.stock), *sides[ROUNDS // 2 :]]:
                begin = time.perf_counter()
                results[name] = side.get_historical_features(frame, features).to_df()
                taken[name].append(time.perf_counter() - begin)
            pd.testing.assert_frame_equal(
                results["ours"], results["stock"].sort_values("number", ignore_index=True)[results["ours"].columns]
            )
            ours, stock = (statistics.median(taken[name]) for name in ("ours", "stock"))
            report("pit_sparse", size, ours, "feast postgres", stock, "s")


if __name__ == "__main__":
    main()
