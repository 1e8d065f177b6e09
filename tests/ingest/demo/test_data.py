"""Latency is counted from the boundary to the read that first gave the row, and only of rows that were seen to come."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ingest.demo.data import PROBES, watch

S = 1_700_000_000


class Store:
    """Serves, at each moment of a clock that it moves 10 ms a read, the newest row: one a second, readable ``late_ms`` after it.

    It is its own clock."""

    def __init__(self, late_ms: int) -> None:
        self.now_ms = S * 1000 + 500
        self._late_ms = late_ms

    def time_ns(self) -> int:
        return self.now_ms * 1_000_000

    def sleep(self, seconds: float) -> None:
        """Reads alone move the clock."""

    def get_online_features(self, features: list[str], entities: list[dict[str, str]]) -> Any:
        self.now_ms += 10
        newest = (self.now_ms - self._late_ms) // 1000
        column = SimpleNamespace(event_timestamps=[SimpleNamespace(seconds=newest, nanos=0)] * len(entities))
        names = [f.partition(":")[2] for f in features]
        metadata = SimpleNamespace(feature_names=SimpleNamespace(val=names))
        return SimpleNamespace(proto=SimpleNamespace(metadata=metadata, results=[column] * len(names)))


def test_each_row_counts_once_from_its_boundary_to_its_first_read() -> None:
    store = Store(late_ms=304)
    found = watch(store, ["A", "B"], 3.0, clock=store)
    # from x.500 on, for three seconds: the rows of the next three seconds, of two symbols and each view that is watched;
    # readable 304 ms after the boundary, read every 10 ms
    assert found == [310.0] * (3 * 2 * len(PROBES))


def test_a_row_that_was_there_before_is_not_counted() -> None:
    store = Store(late_ms=304)
    assert watch(store, ["A"], 0.4, clock=store) == []
