"""What the tests of Kafka share: librdkafka's own mock cluster, the feed in a thread, and records made by hand."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from confluent_kafka import Producer
from msgspec import msgpack

from ingest.feeds.kafka import feed as kafka
from ingest.feeds.kafka.source import Source
from ingest.messages.decode import encode
from ingest.messages.kinds import Trade
from ingest.publish.counts import Counts
from ingest.streams import keys

PARTITIONS = 2
T0 = 1_700_000_000_000
SYMBOLS = [f"S{i}" for i in range(6)]
QUICK = {"socket.timeout.ms": "1000", "reconnect.backoff.ms": "20", "reconnect.backoff.max.ms": "100"}
BROKER = """
import sys
from confluent_kafka import Producer
cluster = Producer({"bootstrap.servers": "mock:1", "test.mock.num.brokers": 1, "log_level": 0})
print(",".join(f"{b.host}:{b.port}" for b in cluster.list_topics(timeout=10).brokers.values()), flush=True)
sys.stdin.read()
"""


class Cluster:
    """A cluster in a process of its own, so that it can be frozen."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", BROKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout
        self.address = self.process.stdout.readline().decode().strip()
        assert self.address
        self.producer = Producer({"bootstrap.servers": self.address, "log_level": 0})

    def send(self, topic: str, value: bytes | None, **options: Any) -> None:
        self.producer.produce(topic, value, **options)

    def flush(self) -> None:
        assert self.producer.flush(15) == 0

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.communicate()


def trade(n: int, symbol: str = "S0") -> bytes:
    return encode(Trade(T0 + n, symbol, 100.0, 1.0, "buy", trade_id=n))


def until(done: Callable[[], bool], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Feed:
    """The feed in a thread; leaving the block stops it and shows what it raised."""

    def __init__(self, client: redis.Redis, source: Source) -> None:
        self.stop = threading.Event()
        self.counts: Counts | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(client, source))

    def _run(self, client: redis.Redis, source: Source) -> None:
        try:
            self.counts = kafka.run(client, source, PARTITIONS, self.stop)
        except Exception as error:
            self.error = error

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error


def waiting(client: redis.Redis) -> int:
    return sum(client.xlen(keys.events(p)) for p in range(PARTITIONS))  # type: ignore[misc]


def trades(client: redis.Redis) -> list[int]:
    """Ids of the trades in the logs, partition by partition."""
    found = []
    for p in range(PARTITIONS):
        for _, fields in client.xrange(keys.events(p)):
            assert fields[b"kind"] == b"trade"
            found.append(msgpack.decode(fields[b"data"])["trade_id"])
    return found


def only_trades(address: str, **more: Any) -> Source:
    return Source(address, {"market_data": "market_data"}, options=QUICK, **more)


class Record:
    """What ``confluent_kafka.Message`` tells."""

    def __init__(
        self, topic: str, partition: int, offset: int, at_ms: int, value: bytes = b"", error: Any = None
    ) -> None:
        self._about = topic, partition, offset, value, error
        self._at_ms = at_ms

    def topic(self) -> str:
        return self._about[0]

    def partition(self) -> int:
        return self._about[1]

    def offset(self) -> int:
        return self._about[2]

    def value(self) -> bytes:
        return self._about[3]

    def key(self) -> None:
        return None

    def error(self) -> Any:
        return self._about[4]

    def timestamp(self) -> tuple[int, int]:
        return 1, self._at_ms
