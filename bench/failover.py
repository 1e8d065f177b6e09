"""Failover: a master of a Redis Cluster of three masters and three replicas dies under load, or with ``--sentinel`` that which three
sentinels watch.

Two workers make rows of a live feed of 20 symbols; a reader reads all of them online, as the store does. A master is killed, several
times. The time begins when its replica says that it is the master. ``failover_reads`` is the time until the last read with an error after
that, and ``failover_rows`` the time until every symbol has an online row of a later event time, which includes up to a second of the grid
and the allowed lateness. The peer is the target. Beside them stand how many reads failed, and from the kill to the new master.

    python -m bench.failover
    python -m bench.failover --sentinel
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import threading
import time
from collections.abc import Iterator

import redis

from bench.freshness import SYMBOLS, role
from bench.takeover import oldest_row_us, seconds_until
from feature_repo.project import project
from feature_repo.stores.online.attempt import OnlineStoreUnavailableError, attempt
from feature_repo.stores.online.client import address_of_url, connect
from feature_repo.stores.online.format import SymbolKeys, time_field
from ingest import settings
from ingest.messages.kinds import OrderBook, Trade
from ingest.publish.outlet import Outlet
from ingest.recordings.lines import Parsed
from ingest.streams import outage
from tests.chaos.cluster import cluster_of_six
from tests.chaos.sentinel import master_of_sentinels

ROUNDS = 4
TARGET_S = 5.0
STEP_S, READ_S = 0.05, 0.02
RETRIES = 3  # of the store


def feed(url: str, conf: settings.Settings, stop: threading.Event) -> None:
    """Write a book and a trade of each symbol every 50 ms, until ``stop`` is set."""
    with outage.open_redis(url, conf.redis_replicas) as client:
        outlet = Outlet(client, conf, stop=stop)
        n = 0
        while not stop.wait(STEP_S):
            n, at = n + 1, time.time_ns() // 1_000_000
            outlet.write(
                [Parsed("book", OrderBook(at, s, [(99.0, 1.0 + n % 5)], [(101.0, 1.0)], received=at)) for s in SYMBOLS]
                + [Parsed("trade", Trade(at, s, 100.0 + n % 3, 1.0, "buy", n, received=at)) for s in SYMBOLS]
            )


def read(url: str, failed: list[float], stop: threading.Event) -> None:
    """Read every symbol as the store does, and note when a read fails."""
    client = connect(address_of_url(url), "redis")
    names = SymbolKeys(project(), "symbol").keys(SYMBOLS)

    def ask() -> None:
        with client.pipeline() as pipe:
            for name in names:
                pipe.hmget(name, [time_field("microstructure")])
            pipe.execute()

    while not stop.wait(READ_S):
        try:
            attempt(ask, RETRIES, url)
        except OnlineStoreUnavailableError:
            failed.append(time.monotonic())


@contextlib.contextmanager
def beside(target: object, *args: object) -> Iterator[None]:
    """Run a function in a thread, with an event that ends it."""
    stop = threading.Event()
    thread = threading.Thread(target=target, args=(*args, stop))  # type: ignore[arg-type]
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description=__doc__)
    parser.add_argument("--sentinel", action="store_true", help="a master that sentinels watch, in place of a cluster")
    with_sentinels = parser.parse_args().sentinel
    conf = settings.load()
    chosen = random.Random(0)
    reads, rows, elections, failed = list[float](), list[float](), list[float](), list[float]()
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(master_of_sentinels() if with_sentinels else cluster_of_six())
        client: redis.Redis = stack.enter_context(outage.open_redis(cluster.url))
        environ = {**os.environ, "TFS_REDIS_URL": cluster.url}
        for _ in range(2):
            stack.enter_context(role("worker", environ))
        stack.enter_context(beside(feed, cluster.url, conf))
        stack.enter_context(beside(read, cluster.url, failed))
        for _ in range(ROUNDS):
            seconds_until(lambda: time.time_ns() // 1000 - oldest_row_us(client) < 2_000_000)
            failed.clear()
            killed = time.monotonic()
            known = cluster.kill_and_elect(chosen)
            known_us = time.time_ns() // 1000
            elections.append(known - killed)
            rows.append(seconds_until(lambda at=known_us: _oldest(client) > at))  # type: ignore[misc]
            reads.append(max(0.0, max(failed, default=0.0) - known))
            print(json.dumps({"killed to known": round(known - killed, 2), "failed reads": len(failed)}), flush=True)
            cluster.restart()
    of = "sentinel_failover" if with_sentinels else "failover"
    for name, times in ((f"{of}_reads", reads), (f"{of}_rows", rows)):
        ours = max(times)
        line = {"bench": name, "size": ROUNDS, "ours": round(ours, 2), "peer_name": "the target", "peer": TARGET_S}
        print(json.dumps(line | {"ratio": round(TARGET_S / max(ours, 0.01), 2), "unit": "s, the longest"}), flush=True)


def _oldest(client: redis.Redis) -> int:
    try:
        return oldest_row_us(client)
    except redis.RedisError:
        return 0


if __name__ == "__main__":
    main()
