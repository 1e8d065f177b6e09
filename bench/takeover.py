"""Takeover: from the SIGKILL of a worker until another holds its partitions, and until their symbols have rows again.

Two workers share the partitions at 2,000 messages a second. One of them is killed and a new one is started, several times. ``owned`` is the
time until the other worker holds every lease. ``rows`` is the time until every symbol has an online row from after the kill. The peer is
the target.

    python -m bench.takeover
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis

from bench.freshness import SYMBOLS
from feature_repo.project import project
from feature_repo.stores.online.client import address_of_url, connect
from feature_repo.stores.online.format import SymbolKeys, decode_time, time_field
from ingest import settings
from ingest.servers import embedded
from ingest.streams import keys

ROUNDS = 3
TARGET_S = 3.0
PATIENCE_S = 300.0
POLL_S = 0.01


def owners(client: redis.Redis, partitions: int) -> list[bytes]:
    """The name of the worker that holds each partition, empty where it is free."""
    tokens = client.mget([keys.owner(p) for p in range(partitions)])
    return [(token or b"").partition(b":")[2] for token in tokens]  # type: ignore[union-attr]


def oldest_row_us(client: redis.Redis) -> int:
    """Event time of the symbol's row that is the oldest online; 0 where one has none."""
    pipe = client.pipeline(transaction=False)
    for key in SymbolKeys(project(), "symbol").keys(SYMBOLS):
        pipe.hget(key, time_field("microstructure"))  # type: ignore[arg-type]
    return min(decode_time(raw) if raw else 0 for raw in pipe.execute())


def seconds_until(done: Callable[[], bool]) -> float:
    """How long it takes."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > PATIENCE_S:
            raise TimeoutError(f"not within {PATIENCE_S:.0f} s")
        time.sleep(POLL_S)
    return time.monotonic() - began


def main() -> None:
    """Measure and print."""
    partitions = settings.load().partitions
    owned, rows = [], []
    with tempfile.TemporaryDirectory(prefix="tfs-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o711)
        servers = stack.enter_context(embedded.running(folder / "servers"))
        client = stack.enter_context(connect(address_of_url(servers.redis_url), "redis"))

        def start(*arguments: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", *arguments]
            environ = {**os.environ, "TFS_REDIS_URL": servers.redis_url}
            process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environ)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        def worker() -> subprocess.Popen[bytes]:
            return start("ingest", "run", "--roles", "worker", "--inline")

        start("bench.freshness", "feed")
        old, new = worker(), worker()
        for _ in range(ROUNDS):
            seconds_until(lambda: len(names := set(owners(client, partitions))) == 2 and b"" not in names)
            seconds_until(lambda: time.time_ns() // 1000 - oldest_row_us(client) < 2_000_000)
            old.kill()
            killed_us = time.time_ns() // 1000
            owned.append(seconds_until(lambda: len(names := set(owners(client, partitions))) == 1 and b"" not in names))
            until_owned_us = time.time_ns() // 1000 - killed_us
            rows.append(seconds_until(lambda at=killed_us: oldest_row_us(client) > at) + until_owned_us / 1e6)  # type: ignore[misc]
            old, new = new, worker()
    for name, times in (("takeover_owned", owned), ("takeover_rows", rows)):
        ours = max(times)
        ratio = float(f"{TARGET_S / ours:.3g}")
        line = {"bench": name, "size": ROUNDS, "ours": round(ours, 2), "peer_name": "the target", "peer": TARGET_S}
        print(json.dumps(line | {"ratio": ratio, "unit": "s, the longest"}), flush=True)


if __name__ == "__main__":
    main()
