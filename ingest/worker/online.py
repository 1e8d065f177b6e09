"""The newest rows of a flush, on their way to the online store: by scripts that look at the lease as the commit does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis

from feature_repo.project import project
from feature_repo.stores.online.client import is_cluster
from feature_repo.stores.online.write import Lease, OnlineWriter
from ingest.settings import Settings
from ingest.streams import keys, replicas
from ingest.streams.membership import Seat, server_of
from ingest.worker import latency, neighbours
from ingest.worker.partition import Partition, Pending
from transforms.catalog import VIEWS

CALLS = 100  # scripts with online rows to send at once


class Online:
    """Writes rows online; ``clock`` gives microseconds since the epoch, and tells how late a row is readable."""

    def __init__(self, client: redis.Redis, settings: Settings, clock: Callable[[], int]) -> None:
        self._client = client
        self._writers = [OnlineWriter(client, project(), view, packed_only=settings.packed_only) for view in VIEWS]
        self._late_us = settings.allowed_lateness_ms * 1000
        self._settings = settings
        self._clock = clock

    def write(
        self, chosen: Sequence[tuple[Partition, Pending]], held: Mapping[Seat, str], keep_leases: Callable[[], None]
    ) -> bool:
        """Write the newest row of each symbol and view, of partitions whose lease is ``held``; return whether there was any."""
        pipe: Any = self._client.pipeline(transaction=False)
        written, told = list[tuple[Partition, Pending, Any]](), list[int | str]()
        for partition, pending in chosen:
            if (token := held.get(partition.number)) is None:
                continue  # its lease was lost on the way
            lease = Lease(keys.owner(partition.number), token)
            server = "" if is_cluster(self._client) else server_of(token)
            told += neighbours.add_told(pipe, partition.number, server, pending.told, self._settings)
            for writer, batch in zip(self._writers, pending.batches.values(), strict=True):
                if len(batch):
                    newest = batch.newest()
                    columns = (newest.event_us, newest.values, newest.silent_us, newest.created_us)
                    writer.add_to(pipe, newest.symbols, *columns, lease)
                    written.append((partition, pending, newest))
            keep_leases()
            if len(pipe) >= CALLS:  # a thousand symbols' rows take long on a busy server
                self._send(pipe, told)
                keep_leases()
        if not written:
            return False
        self._send(pipe, told)
        keep_leases()
        due_us = self._clock() - self._late_us
        for partition, pending, newest in written:
            live = [partition.is_live(symbol) for symbol in newest.symbols]
            latency.count(pending.counts, (due_us - newest.event_us[live]).tolist())
        return True

    def _send(self, pipe: Any, told: list[int | str]) -> None:
        """Send what is gathered; replicas have what was told to logs, as the commit makes it never again."""
        if told:
            replicas.execute(self._client, pipe, told)
            told.clear()
        else:
            pipe.execute()
