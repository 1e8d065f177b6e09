"""The offline writer: a batch of the outboxes into the tables once, and what is no rows into the dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis

from feature_repo.stores.offline.tables.schema import migrate, table_of_view
from ingest import offline_writer
from ingest.streams import keys, read
from ingest.streams.dead_letters import newest
from ingest.worker import rows
from transforms.catalog import VIEW
from transforms.kernel import vector

SOCIAL = VIEW["social"]


@pytest.fixture
def database(postgres_url: str) -> Iterator[psycopg.Connection]:
    """A database with the table of one view."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        migrate(connection, [table_of_view(SOCIAL)])
        yield connection


def append(client: redis.Redis, *symbols: str, **changed: Any) -> None:
    batch = rows.Batch(SOCIAL)
    for i, symbol in enumerate(symbols):
        batch.add(symbol, 1_000_000 * i, 1_000_000 * i + 7, vector([float(i)] * len(SOCIAL.features)), 1_999 * i)
    client.xadd(keys.outbox(0), {"rows": rows.encode(batch.columns()._replace(**changed))})


def waiting(client: redis.Redis) -> list[read.Entry]:
    return read.entries_after(client, {keys.outbox(0): read.START}, 50, 1)


def test_rows_of_several_entries_are_written_once_and_the_entries_deleted(
    redis_client: redis.Redis, database: psycopg.Connection
) -> None:
    append(redis_client, "A", "B")
    append(redis_client, "C")
    batch = waiting(redis_client)
    assert offline_writer.write(redis_client, database, batch) == 3
    assert redis_client.xlen(keys.outbox(0)) == 0
    assert offline_writer.write(redis_client, database, batch) == 0  # as after a crash before the deletion
    found = database.execute("SELECT symbol, feed_silence_ms FROM social ORDER BY symbol").fetchall()
    assert found == [("A", 0), ("B", 1), ("C", 0)]  # whole milliseconds, as online


def test_rows_are_served_ones_and_name_their_kernels_though_two_releases_made_a_batch(
    redis_client: redis.Redis, database: psycopg.Connection
) -> None:
    for symbols, versions in (("AB", {"posts": 3}), ("C", {"posts": 4}), ("D", None), ("E", {"posts": 3})):
        append(redis_client, *symbols, versions=versions)
    assert offline_writer.write(redis_client, database, waiting(redis_client)) == 5
    query = "SELECT symbol, versions FROM social LEFT JOIN kernel_versions v ON v.id = kernels WHERE NOT recomputed ORDER BY 1"
    old, new = {"posts": 3}, {"posts": 4}
    assert database.execute(query).fetchall() == [("A", old), ("B", old), ("C", new), ("D", None), ("E", old)]
    assert database.execute("SELECT count(*) FROM kernel_versions").fetchone() == (2,)


def test_an_entry_without_rows_is_kept_in_the_dead_letters_and_the_others_are_written(
    redis_client: redis.Redis, database: psycopg.Connection
) -> None:
    redis_client.xadd(keys.outbox(0), {"rows": b"\xc1"})
    append(redis_client, "A")
    assert offline_writer.write(redis_client, database, waiting(redis_client)) == 1
    assert redis_client.xlen(keys.outbox(0)) == 0
    [letter] = newest(redis_client, 4)
    assert (letter.reason, dict(letter.fields)) == ("failed", {b"rows": b"\xc1"})


def test_an_empty_batch_writes_nothing(redis_client: redis.Redis, database: psycopg.Connection) -> None:
    assert offline_writer.write(redis_client, database, []) == 0
