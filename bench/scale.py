"""One worker process, two and four on the same partitions, messages a second from the logs to both stores' queues, everything on.

A market of 16 symbols, one a partition, is written to streams beside the logs. When the workers are ready and share the partitions
evenly, the streams are renamed to the logs, and the time runs until the last entry is committed. ``scale`` uses the clock: several workers
against one on this machine, whose server needs a processor too. ``scale_core`` is messages for each processor second of the workers: if
it is the same for several workers, they do not slow each other. ``scale_server`` is messages for each processor second of the server,
without producers: the most that any number of workers can read from one server.

    python -m bench.scale
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import redis

from feature_repo.stores.online.client import address_of_url, connect
from ingest.messages.decode import encode
from ingest.messages.kinds import OrderBook, Tick, Trade
from ingest.servers import embedded
from ingest.streams import dead_letters, keys
from ingest.streams.backlog import backlog
from transforms.limits import MAX_LEVELS

PARTITIONS = 16
SPAN_MS = 150_000
T0 = 1_700_000_000_000
ROUNDS = 3
WORKERS = (1, 2, 4)
PATIENCE_S = 180.0
POLL_S = 0.02
"""Each look costs the server time too."""


def symbols() -> list[str]:
    """One name for each partition, so that even shares are even work."""
    found: dict[int, str] = {}
    for n in itertools.count():
        name = f"SYM{n}USDT"
        found.setdefault(keys.partition_of(name, PARTITIONS), name)
        if len(found) == PARTITIONS:
            return [found[p] for p in range(PARTITIONS)]
    raise AssertionError("unreachable")


def market(names: list[str]) -> list[tuple[int, dict[str, Any]]]:
    """A hundred messages a second of every symbol, books of 20 levels and trades in turn, and a tick that ends it: partition and entry."""
    found = []
    for at in range(T0, T0 + SPAN_MS, 10):
        for number, name in enumerate(names):
            n = (at - T0) // 10
            mid = 100.0 + 0.01 * ((n * 7 + number) % 13)
            message: Any = Trade(at, name, mid, 1.0 + n % 3, ("buy", "sell")[n // 2 % 2], received=at)
            if n % 2 == 0:
                bids = [(round(mid - 0.01 * k, 2), 1.0 + (n + k) % 5) for k in range(1, MAX_LEVELS + 1)]
                asks = [(round(mid + 0.01 * k, 2), 1.0 + (n + 2 * k) % 4) for k in range(1, MAX_LEVELS + 1)]
                message = OrderBook(at, name, bids, asks, received=at)
            found.append((number, {"kind": ("book", "trade")[n % 2], "data": encode(message), "recorded": "1"}))
    for number, name in enumerate(names):
        found.append((number, {"kind": "tick", "data": encode(Tick(T0 + SPAN_MS, name)), "recorded": "1"}))
    return found


def staged(client: redis.Redis, entries: list[tuple[int, dict[str, Any]]]) -> None:
    """Lay the market beside the logs."""
    for p in range(PARTITIONS):
        client.xgroup_create(f"staged:{{{p}}}", keys.GROUP, id="0", mkstream=True)
    pipe: Any = client.pipeline(transaction=False)
    for n, (p, fields) in enumerate(entries, 1):
        pipe.xadd(f"staged:{{{p}}}", fields)
        if n % 1000 == 0:
            pipe.execute()
    pipe.execute()


def wait(done: Callable[[], bool]) -> None:
    """Until ``done``."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE_S:.0f} s")
        time.sleep(POLL_S)


def share(client: redis.Redis) -> list[int]:
    """How many partitions each worker holds; empty while one is free."""
    tokens: Any = client.mget([keys.owner(p) for p in range(PARTITIONS)])
    if None in tokens:
        return []
    names = [token.partition(b":")[2] for token in tokens]
    return sorted(names.count(name) for name in set(names))


def measure(url: str, entries: list[tuple[int, dict[str, Any]]], workers: int) -> tuple[float, float, float]:
    """Seconds by the clock, and processor seconds of the workers and of the server, for all of ``entries``."""
    command = [sys.executable, "-m", "ingest", "run", "--roles", "worker", "--inline"]
    environ = {**os.environ, "TFS_REDIS_URL": url, "TFS_PARTITIONS": str(PARTITIONS), "TFS_LOG_LEVEL": "WARNING"}
    with connect(address_of_url(url), "redis") as client, contextlib.ExitStack() as stack:
        client.flushall()
        processes = []
        for _ in range(workers):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environ)
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(psutil.Process(process.pid))
        staged(client, entries)
        wait(lambda: share(client) == [PARTITIONS // workers] * workers)

        about: Any = client.info("server")
        server = psutil.Process(about["process_id"])

        def spent(those: list[psutil.Process]) -> float:
            return sum(sum(process.cpu_times()[:2]) for process in those)

        pipe: Any = client.pipeline(transaction=True)
        for p in range(PARTITIONS):
            pipe.rename(f"staged:{{{p}}}", keys.events(p))
        began, before, served = time.monotonic(), spent(processes), spent([server])
        pipe.execute()
        wait(lambda: backlog(client, PARTITIONS).events == 0)
        found = time.monotonic() - began, spent(processes) - before, spent([server]) - served
        taken = [int(client.hget(keys.checkpoint(p), "entries") or 0) for p in range(PARTITIONS)]
        assert sum(taken) == len(entries), "not every message was taken once"
        assert dead_letters.kept(client, PARTITIONS) == 0, "a message was refused"
        return found


def main() -> None:
    """Measure and print."""
    entries = market(symbols())
    best: dict[int, tuple[float, ...]] = {}
    with tempfile.TemporaryDirectory(prefix="tfs-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the server may run as another user
        with embedded.running(folder / "servers", durable=False) as servers:
            for _ in range(ROUNDS):
                for workers in WORKERS:
                    found = measure(servers.redis_url, entries, workers)
                    old = best.get(workers, found)
                    best[workers] = tuple(map(min, old, found))
    units = {"scale": "messages/s", "scale_core": "messages/s/core", "scale_server": "messages/s/core"}
    for workers in WORKERS[1:]:
        for which, (bench, unit) in enumerate(units.items()):
            one, more = (len(entries) / best[n][which] for n in (1, workers))
            line = {"bench": f"{bench}, {workers} workers", "size": len(entries), "ours": round(more)}
            line |= {"peer_name": "one worker", "peer": round(one), "ratio": float(f"{more / one:.3g}"), "unit": unit}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
