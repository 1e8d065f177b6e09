"""What the log of what was served costs: processor time of a read without it and with it, and of the thread that writes its files.

The kinds of reads take turns in one run, in an order that changes. Prints JSON lines. ``more_us`` is the median of what a read of a
turn takes more than one of the turn without the log beside it; ``write_us`` is what the thread takes for a sampled read, and
``file_us`` for a file of one. With a share s a read so costs ``more_us + s * write_us``, and the process ``file_us`` every minute
beside it.

    python -m bench.online_served
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np

from bench.online_read import fill
from bench.online_stores import bench
from feature_repo.stores.online import served
from feature_repo.stores.online.served import ServedLog

SHARES = (0.0, 0.01, 1.0)
"""0.0 is a store without the log."""
READS = {1: 100, 50: 40}
TURNS = 20


def main() -> None:
    """Measure and print."""
    never = patch.object(served, "WRITE_S", 3_600.0)  # the turns say when files are written
    with bench() as store, tempfile.TemporaryDirectory(prefix="tfs-served-") as folder, never:
        symbols = [f"SYM{i}USDT" for i in range(max(READS))]
        fill(store, symbols)
        service, online = store.ours.get_feature_service("signal_v1"), store.ours._get_provider().online_store
        logs = {share: ServedLog(Path(folder), share) if share else None for share in SHARES}
        for size, n in READS.items():
            rows = [{"symbol": symbol} for symbol in symbols[:size]]

            def read(rows: list[dict[str, str]] = rows) -> None:
                store.ours.get_online_features(service, rows).to_numpy()

            order = random.Random(size)
            reads: dict[float, list[float]] = {share: [] for share in SHARES}
            writes, files = [], []
            for _ in range(TURNS + 1):
                for share in order.sample(SHARES, len(SHARES)):
                    log = online.served = logs[share]
                    read()  # does not count: another turn has used the processor's caches
                    reads[share].append(processor_us(read, n))
                    if share == 1.0 and log is not None:
                        writes.append(processor_us(log.write, 1) / (n + 1))
                        read()
                        files.append(processor_us(log.write, 1))
            without = np.array(reads[0.0][1:])  # the first turn loads what is used
            for share in SHARES[1:]:
                more = float(np.median(np.array(reads[share][1:]) - without))
                report(symbols=size, share=share, read_us=float(np.median(without)), more_us=more)
            report(symbols=size, write_us=float(np.median(writes[1:])), file_us=float(np.median(files[1:])))
        for log in logs.values():
            if log is not None:
                log.close()


def processor_us(call: Callable[[], None], n: int) -> float:
    """Return the processor time of this process for one of `n` calls, in microseconds."""
    begin = time.process_time()
    for _ in range(n):
        call()
    return (time.process_time() - begin) / n * 1e6


def report(**figures: float) -> None:
    """Print a line."""
    print(json.dumps({"benchmark": "online_served", **{name: round(value, 2) for name, value in figures.items()}}))


if __name__ == "__main__":
    main()
