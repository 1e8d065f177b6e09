"""Carries rows from the outboxes into TimescaleDB.

Nothing online waits for it: while the database is down the outboxes grow, and it catches up. A batch is acknowledged after its rows are
in; a crash between the two writes them again, and the tables take no row twice.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict

import numpy as np
import psycopg
import redis

from feature_repo.stores.copy import append_rows
from ingest import log, rows, streams
from transforms.catalog import VIEWS

_LOG = logging.getLogger(__name__)
BATCH = 50
BLOCK_MS = 100
RETRY_S = (0.1, 0.5, 1.0, 2.0, 5.0)


def run(client: redis.Redis, postgres_url: str, partitions: int, stop: threading.Event) -> None:
    """Write until ``stop`` is set and the outboxes are empty; reconnects as long as it takes."""
    outboxes = [log.outbox(p) for p in range(partitions)]
    streams.join(client, outboxes)
    failures = 0
    while True:
        try:
            with psycopg.connect(postgres_url, application_name="tfs offline writer") as connection:
                for outbox in outboxes:
                    for batch in streams.unacknowledged(client, outbox, BATCH):
                        write(client, connection, batch)
                failures = 0
                while True:
                    batch = streams.new(client, outboxes, BATCH, BLOCK_MS)
                    if not batch and stop.is_set():
                        return
                    write(client, connection, batch)
        except psycopg.OperationalError as error:
            delay = RETRY_S[min(failures, len(RETRY_S) - 1)]
            failures += 1
            _LOG.warning("the offline store cannot be written, retry in %.1f s: %s", delay, str(error).splitlines()[0])
            if stop.wait(delay):
                return


def write(client: redis.Redis, connection: psycopg.Connection, batch: list[streams.Read]) -> int:
    """Write a batch of the outboxes in one transaction, then acknowledge and delete it; the number of rows that were new."""
    if not batch:
        return 0
    gathered: dict[str, list[rows.Columns]] = defaultdict(list)
    for _, _, fields in batch:
        columns = rows.decode(fields[b"rows"])
        gathered[columns.view.name].append(columns)
    new = 0
    with connection.transaction():
        for view in VIEWS:
            if parts := gathered[view.name]:
                new += append_rows(
                    connection,
                    view,
                    [symbol for part in parts for symbol in part.symbols],
                    np.concatenate([part.event_us for part in parts]),
                    np.concatenate([part.created_us for part in parts]),
                    np.concatenate([part.values for part in parts]),
                )
    pipe = client.pipeline(transaction=True)
    for outbox, entry_id, _ in batch:
        pipe.xack(outbox, log.GROUP, entry_id)
        pipe.xdel(outbox, entry_id)
    pipe.execute()
    return new
