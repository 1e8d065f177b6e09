"""One worker process, two and four on the same partitions, messages a second from the logs to both stores' queues, everything on.

A market of 16 symbols, one a partition, is written to streams beside the logs. When the workers are ready and share the partitions
evenly, the streams are renamed to the logs, and the time runs until the last entry is committed. ``scale`` uses the clock: several workers
against one on this machine, whose server needs a processor too. ``scale_core`` is messages for each processor second of the workers: if
it is the same for several workers, they do not slow each other. ``scale_server`` is messages for each processor second of the server,
without producers: the most that any number of workers can read from one server.

``scale_masters`` is the same with two workers on a Redis Cluster of three masters: messages for each processor second of the busiest
master, against that of one server. It is 2 where that one has half of the partitions, as here, and nothing else costs more.

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
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import redis

from ingest.messages.decode import encode
from ingest.messages.kinds import OrderBook, Tick, Trade
from ingest.servers import embedded
from ingest.streams import dead_letters, keys
from ingest.streams.backlog import backlog
from ingest.streams.outage import open_redis
from tests.feature_repo.stores.redis_servers import Servers
from transforms.limits import MAX_LEVELS

PARTITIONS = 16
SPAN_MS = 150_000
T0 = 1_700_000_000_000
ROUNDS = 3
WORKERS = (1, 2, 4)
MASTERS, ON_MASTERS = 3, 2  # workers, as many as this machine has cores
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


def is_even(client: redis.Redis, workers: int, servers: int) -> bool:
    """Whether all workers hold as many partitions of each server; a worker has a name for each."""
    pipe: Any = client.pipeline(transaction=False)
    for p in range(PARTITIONS):
        pipe.get(keys.owner(p))
    tokens = pipe.execute()
    names = Counter(token.partition(b":")[2] for token in tokens if token)
    counts = sorted(names.values())
    return (
        sum(counts) == PARTITIONS
        and len(counts) == workers * servers
        and counts[::workers] == counts[workers - 1 :: workers]
    )


def measure(
    url: str, pids: Sequence[int], entries: list[tuple[int, dict[str, Any]]], workers: int
) -> tuple[float, float, float]:
    """Seconds by the clock, and processor seconds of the workers and of the busiest server, for all of ``entries``."""
    command = [sys.executable, "-m", "ingest", "run", "--roles", "worker", "--inline"]
    environ = {**os.environ, "TFS_REDIS_URL": url, "TFS_PARTITIONS": str(PARTITIONS), "TFS_LOG_LEVEL": "WARNING"}
    with open_redis(url) as client, contextlib.ExitStack() as stack:
        client.flushall()
        processes = []
        for _ in range(workers):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environ)
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(psutil.Process(process.pid))
        staged(client, entries)
        wait(lambda: is_even(client, workers, len(pids)))

        servers = [psutil.Process(pid) for pid in pids]

        def spent(process: psutil.Process) -> float:
            return float(sum(process.cpu_times()[:2]))

        def spent_by_workers() -> float:
            return sum(map(spent, processes))

        pipe: Any = client.pipeline(transaction=False)
        for p in range(PARTITIONS):
            pipe.rename(f"staged:{{{p}}}", keys.events(p))
        began, before, served = time.monotonic(), spent_by_workers(), list(map(spent, servers))
        pipe.execute()
        wait(lambda: backlog(client, PARTITIONS).events == 0)
        busiest = max(spent(server) - so_far for server, so_far in zip(servers, served, strict=True))
        found = time.monotonic() - began, spent_by_workers() - before, busiest
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
        with (
            embedded.running(folder / "servers", durable=False) as servers,
            redis.Redis.from_url(servers.redis_url) as one,
        ):
            about: Any = one.info("server")
            for _ in range(ROUNDS):
                for workers in WORKERS:
                    keep(best, workers, measure(servers.redis_url, [about["process_id"]], entries, workers))
        (folder / "cluster").mkdir(mode=0o711)
        with contextlib.closing(Servers(folder / "cluster")) as cluster:
            url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in cluster.cluster(MASTERS))
            pids = [process.pid for process in cluster.running.values()]
            for _ in range(ROUNDS):
                keep(best, 0, measure(url, pids, entries, ON_MASTERS))
    size = len(entries)
    units = {"scale": "messages/s", "scale_core": "messages/s/core", "scale_server": "messages/s/core"}
    for workers in WORKERS[1:]:
        for which, (bench, unit) in enumerate(units.items()):
            tell(f"{bench}, {workers} workers", size, best[workers][which], "one worker", best[1][which], unit)
    tell(f"scale_masters, {MASTERS} masters", size, best[0][2], "one server", best[ON_MASTERS][2], "messages/s/core")


def keep(best: dict[int, tuple[float, ...]], which: int, found: tuple[float, ...]) -> None:
    """Keep the least of each figure."""
    best[which] = tuple(map(min, best.get(which, found), found))


def tell(bench: str, size: int, ours_s: float, peer_name: str, peer_s: float, unit: str) -> None:
    """Print both rates and their ratio."""
    line = {"bench": bench, "size": size, "ours": round(size / ours_s), "peer_name": peer_name}
    line |= {"peer": round(size / peer_s), "ratio": float(f"{peer_s / ours_s:.3g}"), "unit": unit}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
