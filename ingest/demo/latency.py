"""How long after a boundary of the grid its rows are readable, measured by reading them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from feast import FeatureStore

from ingest.demo.data import columns_of

PROBES = {"microstructure": "mid_price", "order_flow": "trade_count_1m", "technical": "market_hour"}
"""One feature of each watched view; every feature of a row comes with the row's time."""
PAUSE_S = 0.002


def watch(
    store: FeatureStore,
    symbols: Sequence[str],
    seconds: float,
    *,
    clock_ns: Callable[[], int] = time.time_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> list[float]:
    """Read online repeatedly for some seconds; return the milliseconds from each new row's boundary to the read that first gave it.

    A row that the first read gives is not counted, because its arrival was not seen. The figures include the time between two reads
    (some milliseconds) and what a row waits for: the allowed lateness, and a message after it.
    """
    features = [f"{view}:{name}" for view, name in PROBES.items()]
    entities = [{"symbol": s} for s in symbols]
    seen: dict[tuple[str, int], int] = {}
    delays: list[float] = []
    deadline = clock_ns() + int(seconds * 1e9)
    first = True
    while clock_ns() < deadline:
        response = store.get_online_features(features, entities)
        now_ns = clock_ns()
        columns = columns_of(response)
        for name in PROBES.values():
            for i, at in enumerate(columns[name].event_timestamps):
                at_ns = at.seconds * 1_000_000_000 + at.nanos
                if at_ns > seen.get((name, i), 0):
                    seen[name, i] = at_ns
                    if not first:
                        delays.append((now_ns - at_ns) / 1e6)
        first = False
        sleep(PAUSE_S)
    return delays
