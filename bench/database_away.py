"""What a database that is away costs online: freshness with PostgreSQL there, and over two minutes after it was killed.

Feed, reader and worker are those of ``bench.freshness``, 2,000 messages a second; an offline writer carries the rows. PostgreSQL is killed,
stays away, and comes back; once the outboxes are empty every row that the worker ever made must be in the tables, and every second of
every symbol among them, else the exit code is 1. One JSON object a quantile: ``ours`` without the database, ``peer`` with it.

    python -m bench.database_away
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psycopg
import redis
from psycopg import sql

from bench.freshness import SYMBOLS, VIEWS, fed, role, wait_for_leases, watch
from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from feature_repo.stores.online.client import address_of_url, connect
from ingest import settings
from ingest.servers.orders import orders
from ingest.servers.supervisor import Server
from ingest.streams.backlog import backlog, counters
from transforms import catalog

AWAY_S = 120
THERE_S = 60
PATIENCE_S = 300.0


def start(server: Server) -> None:
    """Start a server and wait until it answers."""
    server.start()
    deadline = time.monotonic() + PATIENCE_S
    while not server.answers():
        assert not server.ended(), server.tail()
        assert time.monotonic() < deadline, server.tail()
        time.sleep(0.05)


def stop(server: Server, how: str) -> None:
    """End a server by a signal."""
    server.signal(how)
    assert server.process is not None
    server.process.wait(60)


def missing(client: redis.Redis, url: str, partitions: int) -> list[str]:
    """What the tables lack of the rows that the worker counted, and of the seconds of each symbol."""
    made = counters(client, partitions)
    found = []
    with psycopg.connect(url) as connection:
        for view in (view.name for view in catalog.VIEWS):
            table = sql.Identifier(view)
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
            if row != (made.get(f"rows.{view}", 0),):
                found.append(f"{view}: {row} rows of {made.get(f'rows.{view}', 0)}")
        for view in VIEWS:
            gaps = connection.execute(
                sql.SQL(
                    "SELECT symbol, count(*), extract(epoch FROM max(event_timestamp) - min(event_timestamp))::bigint + 1"
                    " FROM {} GROUP BY symbol"
                ).format(sql.Identifier(view))
            ).fetchall()
            found += [f"{view} {symbol}: {n} rows of {seconds} seconds" for symbol, n, seconds in gaps if n != seconds]
            if len(gaps) != len(SYMBOLS):
                found.append(f"{view}: {len(gaps)} symbols of {len(SYMBOLS)}")
    return found


def main() -> int:
    """Measure, print, and tell whether all rows are there."""
    conf = settings.load()
    lateness = conf.allowed_lateness_ms * 1000
    with tempfile.TemporaryDirectory(prefix="tfs-bench-") as name, open(Path(name) / "lock", "wb") as lock:
        Path(name).chmod(0o711)
        told = orders(Path(name), lock.fileno(), ["redis_url", "postgres_url"], durable=False)
        valkey, postgres = (Server(order, lock.fileno()) for order in told["servers"])
        redis_url, postgres_url = told["state"]["redis_url"], told["state"]["postgres_url"]
        for server in (valkey, postgres):
            start(server)
        try:
            with psycopg.connect(postgres_url) as connection:
                migrate(connection, [table_of_view(view) for view in catalog.VIEWS])
            environ = {**os.environ, "TFS_REDIS_URL": redis_url, "TFS_POSTGRES_URL": postgres_url}
            with connect(address_of_url(redis_url), "redis") as client:
                with role("worker", environ), role("writer", environ):
                    wait_for_leases(client, conf.partitions)
                    with fed(client, environ):
                        there = watch(client, lateness, THERE_S)
                        stop(postgres, "SIGKILL")
                        gone = watch(client, lateness, AWAY_S)
                        waiting = backlog(client, conf.partitions).outbox
                        start(postgres)
                    deadline = time.monotonic() + PATIENCE_S
                    while backlog(client, conf.partitions).total and time.monotonic() < deadline:
                        time.sleep(0.2)
                lost = missing(client, postgres_url, conf.partitions)
        finally:
            stop(valkey, "SIGTERM")
            stop(postgres, "SIGINT")
    print(f"{waiting} batches of rows waited for the database", file=sys.stderr)
    with_it, without = (np.concatenate([np.array(times) for times in late.values()]) for late in (there, gone))
    for quantile in (50, 99):
        ours, peer = float(np.percentile(without, quantile)), float(np.percentile(with_it, quantile))
        line = {
            "bench": f"database_away_p{quantile}",
            "size": len(without),
            "ours": round(ours, 2),
            "peer_name": "with the database",
            "peer": round(peer, 2),
            "ratio": float(f"{peer / ours:.3g}"),
            "unit": "ms",
        }
        print(json.dumps(line), flush=True)
    print("\n".join(lost), file=sys.stderr)
    return int(bool(lost))


if __name__ == "__main__":
    if main():
        sys.exit(1)  # 0 would end a run of several, too
