"""The router: messages a second of its core, from the plain streams into the logs of 16 partitions.

Books of 20 levels and trades wait in ``order_book`` and ``market_data``, as JSON. Prints JSON lines: messages for each processor second of
the process, beside a bare loop that reads, decodes the symbol, appends and deletes the same entries without a script. The loop doubles
entries where it dies, and loses the order of the streams. ``router_server`` is the same of the server's core.

    python -m bench.router
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import redis

from ingest.messages.header import Header
from ingest.messages.kinds import PLAIN_STREAM, OrderBook, Trade
from ingest.router import BATCH, Router, _time_us
from ingest.servers import embedded
from ingest.streams import keys, read
from transforms.limits import MAX_LEVELS

PARTITIONS, SYMBOLS, MESSAGES, ROUNDS = 16, 40, 60_000, 5
T0 = 1_700_000_000_000


def fill(client: redis.Redis) -> None:
    """Let the messages wait in the plain streams."""
    client.flushall()
    pipe: Any = client.pipeline(transaction=False)
    for n in range(MESSAGES):
        name, t, mid = f"SYM{n % SYMBOLS}USDT", T0 + n, 100.0 + 0.01 * (n * 7 % 13)
        if n % 2:
            pipe.xadd("market_data", {"data": msgspec.json.encode(Trade(t, name, mid, 1.0 + n % 3, "buy"))})
        else:
            bids, asks = (
                [(round(mid + way * k / 100, 2), 1.0 + n % k) for k in range(1, MAX_LEVELS + 1)] for way in (-1, 1)
            )
            pipe.xadd("order_book", {"data": msgspec.json.encode(OrderBook(t, name, bids, asks))})
        if n % 1000 == 999:
            pipe.execute()


def ours(client: redis.Redis) -> None:
    """Move everything with the router's own code."""
    router, waiting = Router(client, PARTITIONS), dict.fromkeys(PLAIN_STREAM, read.START)
    while found := read.entries_after(client, waiting, BATCH, None):
        router.move(read.by_time(read.in_order(found, BATCH, BATCH), _time_us))


def bare(client: redis.Redis) -> None:
    """Move everything without order, markers and refusals."""
    while found := read.entries_after(client, dict.fromkeys(PLAIN_STREAM, read.START), BATCH, None):
        pipe: Any = client.pipeline(transaction=False)
        for name, _, fields in found:
            symbol = msgspec.json.decode(fields[b"data"], type=Header).symbol
            pipe.xadd(keys.events(keys.partition_of(symbol, PARTITIONS)), {**fields, b"kind": PLAIN_STREAM[name]})
        for name in PLAIN_STREAM:
            if ids := [entry_id for stream, entry_id, _ in found if stream == name]:
                pipe.xdel(name, *ids)
        pipe.execute()


def main() -> None:
    """Measure and print."""
    taken: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="tfs-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the server may run as another user
        with (
            embedded.running(folder / "servers", durable=False) as servers,
            redis.Redis.from_url(servers.redis_url) as client,
        ):
            about: Any = client.info("server")
            server = psutil.Process(about["process_id"])
            calls: dict[str, Callable[[redis.Redis], None]] = {"ours": ours, "bare loop": bare}
            for _ in range(ROUNDS):
                for which, call in calls.items():
                    fill(client)
                    before, served = time.process_time(), sum(server.cpu_times()[:2])
                    call(client)
                    taken.setdefault(("router", which), []).append(time.process_time() - before)
                    taken.setdefault(("router_server", which), []).append(sum(server.cpu_times()[:2]) - served)
                    moved = sum(client.xlen(keys.events(p)) for p in range(PARTITIONS))
                    assert moved == MESSAGES, f"{moved} of {MESSAGES} are in the logs"
    for which in ("router", "router_server"):
        mine, peer = (MESSAGES / statistics.median(taken[which, of]) for of in ("ours", "bare loop"))
        line = {"bench": which, "size": MESSAGES, "ours": round(mine), "peer_name": "bare loop", "peer": round(peer)}
        print(json.dumps(line | {"ratio": float(f"{mine / peer:.3g}"), "unit": "messages/s/core"}), flush=True)


if __name__ == "__main__":
    main()
