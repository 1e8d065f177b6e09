"""Redis comes back without its end after rows reached the database: each row is there once, with the same bits.

To its clients a server that starts with an older file is a replica that was promoted before the end reached it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

import psycopg
import pytest
import redis
from psycopg import sql

from feature_repo.stores.endpoints import Endpoints
from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from ingest import offline_writer, settings
from ingest.streams import keys, outage, read
from ingest.streams.backlog import backlog
from ingest.worker.worker import Worker
from tests.conftest import new_database
from tests.integration.mortal import MortalRedis, wait_until
from tests.integration.test_recovery import PARTITIONS, T0, Entry, entries
from transforms.catalog import VIEWS

SECONDS = 6
KEPT = 200
"""Entries that Redis comes back with, and whose rows are committed."""
Rows = Counter[tuple[str, ...]]


class Site:
    """A worker and a writer, stepped by hand, between one Redis, which may become another one, and one database."""

    def __init__(self, client: redis.Redis, database: psycopg.Connection[Any]) -> None:
        self.client = client
        self.database = database
        self.now_us = (T0 + 100_000) * 1000
        self.worker = Worker(client, settings.load({"TFS_PARTITIONS": str(PARTITIONS)}), lambda: self.now_us)
        self.worker.open()
        migrate(database, [table_of_view(view) for view in VIEWS])

    def publish(self, tape: list[Entry], later: int = 0) -> None:
        """Append entries as a producer does, `later` moves their ids."""
        pipe = self.client.pipeline()
        for stream, entry_id, fields in tape:
            ms, _, number = entry_id.partition(b"-")
            pipe.xadd(stream, fields, b"%d-%s" % (int(ms) + later, number))  # type: ignore[arg-type]
        pipe.execute()

    def work(self) -> None:
        """Take everything to the database."""
        outboxes = {keys.outbox(p): read.START for p in range(PARTITIONS)}

        def done() -> bool:
            self.worker.step()
            self.worker.flush()
            offline_writer.write(self.client, self.database, read.entries_after(self.client, outboxes, 50, 1))
            return not backlog(self.client, PARTITIONS).total

        wait_until(done)

    def creations(self) -> int:
        """The number of different creation times."""
        query = sql.SQL("SELECT created_timestamp FROM {}")
        return len({at for view in VIEWS for at in self.database.execute(query.format(sql.Identifier(view.name)))})

    def rows(self) -> Rows:
        """Every row without its creation, as the texts that name its bits, and how often it is there."""
        found: Rows = Counter()
        for view in VIEWS:
            columns = sql.SQL(", ").join(
                sql.SQL("{}::text").format(sql.Identifier(name))
                for name in table_of_view(view).columns
                if name != "created_timestamp"
            )
            query = sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier(view.name))
            found.update((view.name, *row) for row in self.database.execute(query).fetchall())
        return found


@pytest.mark.parametrize("lost", ["the commits", "the messages too, which are sent again"])
def test_a_failover_that_loses_its_tail_doubles_no_row_and_changes_none(
    mortal: MortalRedis, redis_client: redis.Redis, servers: Endpoints, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setattr(outage, "WRITTEN_S", 0.0)
    tape = [
        (stream, entry_id, {k: v for k, v in fields.items() if k != b"recorded"})
        for stream, entry_id, fields in entries(SECONDS)
    ]
    start, tail, end = tape[:KEPT], tape[KEPT:-3], tape[-3:]
    with contextlib.ExitStack() as stack:
        urls = [stack.enter_context(new_database(servers.postgres_url)) for _ in range(2)]
        databases = [stack.enter_context(psycopg.connect(url, autocommit=True)) for url in urls]
        calm = Site(redis_client, databases[0])
        calm.publish(tape)
        calm.work()
        expected = calm.rows()
        assert set(expected.values()) == {1}

        site = Site(stack.enter_context(redis.Redis.from_url(mortal.url)), databases[1])
        site.publish(start)
        site.work()
        if lost == "the commits":
            site.publish(tail)
        mortal.keep()
        if lost != "the commits":
            site.publish(tail)
        before = len(site.rows())
        site.work()
        reached = len(site.rows())
        assert before < reached < len(expected)
        mortal.kill()
        mortal.restore()
        mortal.start()

        site.now_us += 10_000_000
        if lost != "the commits":
            site.publish(tail, later=5_000)
        site.publish(end, later=5_000)
        site.work()
        assert site.rows() == expected
        assert site.creations() == 2  # what was there before the failover keeps its time
