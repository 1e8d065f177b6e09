"""A million reads with many changes and refreshes of the registry, and the memory that they leave behind.

Prints JSON lines: the resident memory of this process after each tenth of the reads, in MiB, beside that after the first
tenth. The ratio is the first over the present; a process that grows without end goes towards 0.

    python -m bench.online_soak [READS]
"""

from __future__ import annotations

import gc
import sys
import time

import psutil
from feast import FeatureService

from bench.online_read import fill
from bench.online_stores import bench, report

READS = 1_000_000
CHANGES = 100
MIB = 2**20


def main(reads: int = READS) -> None:
    """Read and print."""
    symbols = [f"SYM{i}USDT" for i in range(50)]
    with bench() as store:
        fill(store, symbols)
        service = store.ours.get_feature_service("signal_v1")
        view = store.ours.get_feature_view("social")
        own, first = psutil.Process(), 0.0
        for tenth in range(10):
            begin = time.perf_counter()
            for i in range(reads // 10):
                if i % max(1, reads // CHANGES) == 0:
                    changed = FeatureService(name="changed", features=[view], description=f"{tenth} {i}")
                    store.ours.apply(changed)
                    store.ours.refresh_registry()
                features = service if i % 2 else [f"social:{name}" for name in ("author_ratio_1h", "social_volume_z")]
                store.ours.get_online_features(features, [{"symbol": symbols[i % 50]}]).to_numpy()
            per_s = reads / 10 / (time.perf_counter() - begin)
            gc.collect()
            now = own.memory_info().rss / MIB
            first = first or now
            report(
                "online_soak_memory", (tenth + 1) * reads // 10, now, "after the first tenth", first, first / now, "MiB"
            )
            report("online_soak_reads", (tenth + 1) * reads // 10, per_s, "none", 0.0, 1.0, "reads/s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
