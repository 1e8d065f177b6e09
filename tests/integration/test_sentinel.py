"""Sentinels replace the master in the middle of a load: the same processes go on with the new one, and nothing is lost."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
import redis

from ingest.streams import keys, replicas
from ingest.streams.backlog import backlog, counters
from ingest.streams.outage import open_redis
from tests.chaos.sentinel import MasterOfSentinels, master_of_sentinels
from tests.integration.mortal import send, wait_until
from tests.integration.test_recovery import (
    PARTITIONS,
    Entry,
    assert_every_entity_is_whole,
    entries,
    in_outboxes,
    part,
    undisturbed,
)

PLAIN = {b"book": "order_book", b"trade": "market_data"}
IDS = count(1)


@pytest.fixture
def servers_up() -> Iterator[MasterOfSentinels]:
    with master_of_sentinels(1) as up:
        yield up


def publish(client: redis.Redis, some: list[Entry]) -> None:
    """Append messages to their plain streams, once each and however often it takes, until a replica has them."""
    named = [(PLAIN[fields[b"kind"]], f"{time.time_ns() // 1_000_000}-{next(IDS)}", fields) for _, _, fields in some]

    def execute() -> list[Any]:
        pipe = client.pipeline(transaction=False)
        for stream, entry_id, fields in named:
            pipe.xadd(stream, {name: fields[name] for name in (b"data", b"recorded")}, id=entry_id)
        return replicas.execute(client, pipe, [keys.EDGE], raise_on_error=False)

    send(execute)


def test_a_router_and_a_worker_follow_the_master_and_lose_nothing_that_was_acknowledged(
    servers_up: MasterOfSentinels,
) -> None:
    tape = [entry for entry in entries(60) if entry[2][b"kind"] in PLAIN]
    expected = undisturbed(tape)
    url, thirds = servers_up.url, [tape[i * len(tape) // 3 : (i + 1) * len(tape) // 3] for i in range(3)]
    with (
        open_redis(url, 1) as client,
        part("worker", url, TFS_REDIS_REPLICAS="1") as worker,
        part("router", url, TFS_REDIS_REPLICAS="1") as router,
    ):
        wait_until(lambda: all(client.exists(keys.owner(seat)) for seat in (*range(PARTITIONS), "router")))
        for i, third in enumerate(thirds):
            for at in range(0, len(third), 100):
                publish(client, third[at : at + 100])
                if at == 500 and i == 0:
                    servers_up.kill_and_elect(random.Random(0))
                    servers_up.restart()
                if at == 500 and i == 1:
                    servers_up.demote(servers_up.ask_for_failover())
        wait_until(lambda: counters(client, PARTITIONS).get("accepted.trade") == len(tape) // 2)
        wait_until(lambda: not backlog(client, PARTITIONS).events)
        assert worker.poll() is None and router.poll() is None
        assert in_outboxes(client) == expected
        assert_every_entity_is_whole(client, expected, newest=True)
