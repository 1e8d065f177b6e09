"""A partition and the log that it reads, without a server."""

from __future__ import annotations

from ingest import settings
from ingest.messages.decode import encode
from ingest.messages.kinds import OrderBook, Tick, Trade
from ingest.settings import Settings
from ingest.worker.partition import Partition

T0 = 1_700_000_000_000
"""A whole second, ms."""
CONF = settings.load({"TFS_PARTITIONS": "1"})
BIDS, ASKS = [(100.0, 1.0), (99.0, 2.0)], [(101.0, 3.0), (102.0, 4.0)]


def book(ms: int, sequence: int | None = None, bids: list = BIDS, asks: list = ASKS) -> tuple[str, OrderBook]:
    return "book", OrderBook(T0 + ms, "A", bids, asks, sequence, received=T0 + ms + 3)


def trade(ms: int, trade_id: int | str | None = None, price: float = 100.5) -> tuple[str, Trade]:
    return "trade", Trade(T0 + ms, "A", price, 1.0, "buy", trade_id, received=T0 + ms + 3)


def tick(ms: int) -> tuple[str, Tick]:
    return "tick", Tick(T0 + ms, "A")


class Log:
    """Numbers the entries as a stream would."""

    def __init__(self, conf: Settings = CONF) -> None:
        self.partition = Partition(0, conf)
        self.n = 0
        self.entries: list[tuple[bytes, dict[bytes, bytes]]] = []
        self.arrived_ms = T0 + 100_000

    def append(self, *messages: tuple, recorded: bool = True) -> Log:
        for kind, message in messages:
            fields = {b"kind": kind.encode(), b"data": message if isinstance(message, bytes) else encode(message)}
            if recorded:
                fields[b"recorded"] = b"1"
            self.append_raw(fields)
        return self

    def append_raw(self, fields: dict[bytes, bytes]) -> None:
        self.n += 1
        entry = (b"%d-%d" % (self.arrived_ms, self.n), fields)
        self.entries.append(entry)
        self.partition.process(*entry, now_us=self.arrived_ms * 1000)

    def rows(self, view: str) -> list[tuple[float, float, dict[str, float]]]:
        batch = self.partition.pending.batches[view]
        if not len(batch):
            return []
        c = batch.columns()
        return [
            ((e / 1000 - T0), (a / 1000 - T0), dict(zip(c.view.names, row.tolist(), strict=True)))
            for e, a, row in zip(c.event_us.tolist(), c.created_us.tolist(), c.values, strict=True)
        ]

    def reasons(self) -> list[str]:
        return [str(refused.reason) for _, refused in self.partition.pending.dead]
