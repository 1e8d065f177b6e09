"""The feature worker: owns partitions, turns their logs into rows, and writes them.

    read a batch of all owned logs -> partitions (order, kernels, rows) -> newest rows online -> one commit a partition

Rows go online before the commit: a crash between the two writes them again, and the online store takes no row twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from feature_repo.stores.redis_write import OnlineWriter
from ingest import commit, latency, log, streams
from ingest.partition import Partition, Pending
from ingest.settings import Settings
from ingest.symbol import Symbol, tick_at
from transforms.catalog import VIEWS
from transforms.engine import warm_up

_LOG = logging.getLogger(__name__)
PROJECT = "trading"
BATCH = 2000
BLOCK_MS = 10
COMMIT_S = 1.0
"""Longest time that entries which made no row wait for their commit."""
COMMIT_ENTRIES = 20_000
RENEW_S = commit.LEASE_MS / 4000


class PartitionsError(RuntimeError):
    """This deployment was started with another number of partitions."""


class Worker:
    """A process's worth of partitions.

    Parameters
    ----------
    client:
        The Redis that holds streams, checkpoints and the online store.
    settings:
        Of this deployment.
    clock:
        Microseconds since the epoch; injected, so that tests decide what time it is.
    """

    def __init__(
        self, client: redis.Redis, settings: Settings, clock: Callable[[], int] = lambda: time.time_ns() // 1000
    ) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._partitions: dict[str, Partition] = {}
        self._tokens: dict[int, int] = {}
        self._online = [OnlineWriter(client, PROJECT, view) for view in VIEWS]
        self._heard: dict[str, int] = {}
        self._committed = self._renewed = self._flushed = 0.0
        self._unflushed = 0

    def open(self, stop: threading.Event) -> bool:
        """Own every partition: wait for their leases, restore their checkpoints and take again what was not acknowledged.

        Returns
        -------
        bool
            False where ``stop`` was set before all were free.

        Raises
        ------
        PartitionsError
            The deployment has another number of partitions.
        """
        check_partitions(self._client, self._settings.partitions)
        warm_up()
        for p in range(self._settings.partitions):
            while (token := commit.acquire(self._client, p)) is None:
                if stop.wait(0.05):
                    return False
                self._renew(force=True)
            self._tokens[p] = token
            self._open_partition(p)
            self._renew(force=True)
        return True

    def _open_partition(self, p: int) -> None:
        stream = log.events(p)
        streams.join(self._client, [stream])
        partition = self._partitions[stream] = Partition(p, self._settings)
        saved: Any = self._client.hgetall(log.checkpoint(p))
        anew = partition.restore(saved)
        if anew:
            _LOG.warning(
                "partition %d: %d symbols were saved by other kernels or another grid and start anew: %s",
                p,
                len(anew),
                ", ".join(sorted(anew)[:10]),
            )
        for batch in streams.unacknowledged(self._client, stream, BATCH):
            self._process(batch)
            self._renew(force=True)
        self.flush()

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set, then finish what is in hand and give the leases back."""
        try:
            if self.open(stop):
                while not stop.is_set():
                    self.step()
                self.flush()
        finally:
            self.close()

    def close(self) -> None:
        """Give the leases back."""
        for p, token in self._tokens.items():
            commit.release(self._client, p, token)
        self._tokens.clear()

    def step(self) -> int:
        """One turn of the loop; the number of entries taken."""
        batch = streams.new(self._client, list(self._partitions), BATCH, BLOCK_MS)
        self._process(batch)
        self._tick()
        now = time.monotonic()
        rows = any(p.pending.n_rows for p in self._partitions.values())
        if rows and now - self._flushed >= self._settings.flush_interval_ms / 1000:
            self.flush(only_rows=True)
        elif self._unflushed >= COMMIT_ENTRIES or (self._unflushed and now - self._committed >= COMMIT_S):
            self.flush()
        self._renew()
        return len(batch)

    def _process(self, batch: list[streams.Read]) -> None:
        now_us = self._clock()
        for stream, entry_id, fields in batch:
            symbol = self._partitions[stream].process(entry_id, fields, now_us)
            if symbol is not None and fields.get(b"kind") not in (b"post", b"microprice"):
                self._heard[symbol.name] = now_us
        self._unflushed += len(batch)

    def _tick(self) -> None:
        """Append a tick for each live symbol that has been quiet: time passes in the log itself, so a replay sees it pass."""
        idle_us = self._settings.idle_after_ms * 1000
        now_us = self._clock()
        with log.Publisher(self._client, self._settings.partitions) as publisher:
            for partition in self._partitions.values():
                for symbol in partition.symbols.values():
                    if now_us - self._heard.setdefault(symbol.name, now_us) >= idle_us and self._has_more(
                        symbol, now_us
                    ):
                        publisher.publish("tick", tick_at(symbol.name, now_us - idle_us))
                        self._heard[symbol.name] = now_us - idle_us + self._settings.emit_us

    @staticmethod
    def _has_more(symbol: Symbol, now_us: int) -> bool:
        """Whether time passing would change anything: rows to come, or messages held."""
        timeline = symbol.timeline
        return not symbol.recorded and (timeline.waits() or 0 < timeline.boundary <= symbol.engine.speaks_until())

    def flush(self, *, only_rows: bool = False) -> None:
        """Write what is pending: the newest rows online, then a commit a partition.

        Raises
        ------
        ingest.commit.FencedError
            A partition was taken over; its rows online are not older than its new owner's, and nothing else was written.
        """
        for partition in self._partitions.values():
            if not partition.pending.acknowledged or (only_rows and not partition.pending.n_rows):
                continue
            pending, changed = partition.take_pending()
            self._write_online(partition, pending)
            commit.commit(
                self._client,
                partition.number,
                self._tokens[partition.number],
                pending,
                changed,
                self._settings.features_maxlen,
            )
        self._flushed = time.monotonic()
        if not only_rows:
            self._committed, self._unflushed = self._flushed, 0

    def _write_online(self, partition: Partition, pending: Pending) -> None:
        newest = [batch.newest() for batch in pending.batches.values()]
        pipe = self._client.pipeline(transaction=False)
        for writer, rows in zip(self._online, newest, strict=True):
            if rows.symbols:
                writer.add_to(pipe, rows.symbols, rows.event_us, rows.values)
        pipe.execute()
        due_us = self._clock() - self._settings.allowed_lateness_ms * 1000
        for rows in newest:
            live = (not partition.symbols[symbol].recorded for symbol in rows.symbols)
            latency.count(
                pending.counts, (due_us - t for t, wanted in zip(rows.event_us.tolist(), live, strict=True) if wanted)
            )

    def _renew(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._renewed >= RENEW_S:
            for p, token in self._tokens.items():
                commit.renew(self._client, p, token)
            self._renewed = now


def check_partitions(client: redis.Redis, partitions: int) -> None:
    """Fix the number of partitions of this deployment, or check it.

    Raises
    ------
    PartitionsError
        It was fixed to another number: a symbol's state would be looked for in the wrong log.
    """
    client.set("tfs:partitions", partitions, nx=True)
    fixed: bytes | None = client.get("tfs:partitions")  # type: ignore[assignment]
    if fixed is not None and int(fixed) != partitions:
        raise PartitionsError(
            f"TFS_PARTITIONS={partitions}, but this Redis holds the logs of {int(fixed)} partitions; use that number, or an empty Redis"
        )
