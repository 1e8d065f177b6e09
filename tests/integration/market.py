"""A small recorded market for tests of several workers, and who of them works."""

from __future__ import annotations

import redis

from ingest import settings
from ingest.messages.kinds import OrderBook, Tick, Trade
from ingest.publish.publisher import Publisher
from ingest.streams import keys
from ingest.streams.backlog import ask

T0 = 1_700_000_000_000
PARTITIONS = 4
SYMBOLS = [f"S{i}" for i in range(12)]
CONF = settings.load({"TFS_PARTITIONS": str(PARTITIONS)})


def publish(client: redis.Redis, from_s: int, to_s: int) -> None:
    """Append a recorded market, ten books and trades a second and symbol, with a tick at the end."""
    with Publisher(client, PARTITIONS) as publisher:
        for ms in range(T0 + from_s * 1000, T0 + to_s * 1000, 100):
            for n, symbol in enumerate(SYMBOLS):
                bids, asks = [(99.0 - n, 1.0 + ms % 7)], [(101.0 + n, 1.0 + ms % 5)]
                publisher.publish("book", OrderBook(ms, symbol, bids, asks, received=ms + 2), recorded=True)
                price = 100.0 + (ms // 100 * (n + 3)) % 11 / 8
                publisher.publish("trade", Trade(ms + 50, symbol, price, 1.0, "buy", received=ms + 52), recorded=True)
        for symbol in SYMBOLS:
            publisher.publish("tick", Tick(T0 + to_s * 1000, symbol), recorded=True)


def owners(client: redis.Redis, partitions: int) -> set[bytes]:
    """Names of the workers that hold the partitions, at one moment; none where one of them is free."""
    tokens = ask(client, [("GET", keys.owner(p)) for p in range(partitions)])
    return {token.split(b":")[1] for token in tokens} if all(tokens) else set()
