"""The feature worker at full speed on both Binance captures, messages a second of its one core, with everything on.

The captures lie in the logs already, as a replay publishes them. Then one worker, in this process, takes all of them: decode, order, all
features, newest rows online, checkpoint, outbox and acknowledgement; its processor time counts, what the Redis server does beside it does
not. Prints one JSON object, ``size`` the messages. Needs the captures in ``RECORDINGS`` (else beside the checkout): without them it says so
and ends. No peer computes these features.

    python -m bench.ingest_saturated
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from ingest import settings
from ingest.messages.kinds import Tick
from ingest.publish.publisher import Publisher
from ingest.replay import messages
from ingest.servers import embedded
from ingest.streams import dead_letters, keys
from ingest.worker.worker import Worker

ROUNDS = 3


def captures() -> list[Path]:
    """The two captures, or nothing."""
    given = os.environ.get("RECORDINGS")
    found = Path(given) if given else Path(__file__).parents[2] / "shared" / "recordings"
    return sorted((found / "ws_binance_hftbacktest").glob("*.jsonl.gz"))


def tape(paths: list[Path]) -> Iterator[tuple[str, Any]]:
    """The messages of the captures by receive time, and the ticks that end them."""
    last: dict[str, int] = {}
    message: Any
    for kind, message in messages(paths):
        last[message.symbol] = max(last.get(message.symbol, 0), message.timestamp)
        yield kind, message
    for symbol, newest in last.items():
        yield "tick", Tick(newest, symbol)


def measure(client: redis.Redis, entries: list[tuple[str, Any]]) -> float:
    """Processor seconds of a worker that takes all of ``entries`` from logs of their own."""
    client.flushall()
    conf = settings.load()
    with Publisher(client, conf.partitions) as publisher:
        for kind, message in entries:
            publisher.publish(kind, message, recorded=True)
    worker = Worker(client, conf)
    worker.open()
    begin, taken = time.process_time(), 0
    while taken < len(entries):
        taken += worker.step()
    worker.close()
    seconds = time.process_time() - begin
    assert any(client.exists(keys.outbox(p)) for p in range(conf.partitions)), "no row reached the outbox"
    assert dead_letters.kept(client, conf.partitions) == 0, "a message of the captures was refused"
    return seconds


def main() -> None:
    """Measure and print."""
    paths = captures()
    if not paths:
        print("ingest_saturated needs the captures: set RECORDINGS to their folder", file=sys.stderr)
        return
    entries = list(tape(paths))
    with tempfile.TemporaryDirectory(prefix="tfs-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the server may run as another user
        with embedded.running(folder / "servers", durable=False) as endpoints:
            client = redis.Redis.from_url(endpoints.redis_url)
            best = min(measure(client, entries) for _ in range(ROUNDS))
    record = {
        "bench": "ingest_saturated",
        "size": len(entries),
        "ours": round(len(entries) / best),
        "peer_name": None,
        "peer": None,
        "ratio": None,
        "unit": "messages/s/core",
    }
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
