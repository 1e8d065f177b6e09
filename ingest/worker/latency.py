"""How late rows become readable online, as a histogram among a partition's counters.

The latency of a row is the time of its online write, less its event time, less the allowed lateness: what the system adds to the wait
that its settings ask for. Rows of recordings are not counted, because their times are not those of a clock here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

BOUNDS_MS = (5, 10, 20, 50, 100, 200, 500, 1000, 5000)  # inclusive; the last bucket, ``inf``, has no upper bound
BUCKETS = tuple(f"latency_ms.{bound}" for bound in (*BOUNDS_MS, "inf"))  # counters, each of its own bucket alone
SUM = "latency_ms.sum"  # the counter of all milliseconds together, for the mean


def count(counts: Counter[str], late_us: Iterable[int]) -> None:
    """Add the latencies of rows, in microseconds; a negative one, where this clock is behind the exchange's, counts as none.

    >>> counts: Counter[str] = Counter()
    >>> count(counts, [-3, 4_000, 5_000, 5_001, 9_000_000])
    >>> sorted(counts.items())
    [('latency_ms.10', 1), ('latency_ms.5', 3), ('latency_ms.inf', 1), ('latency_ms.sum', 9014)]
    """
    total = 0
    for late in late_us:
        late = max(late, 0)
        counts[BUCKETS[bisect_left(BOUNDS_MS, late / 1000)]] += 1
        total += late
    if total:
        counts[SUM] += total // 1000
