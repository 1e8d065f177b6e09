"""SIGTERM ends every part within five seconds, whatever it waits for, and nothing is lost by it."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from ingest.streams import keys
from ingest.streams.backlog import backlog, counters
from ingest.streams.outage import open_redis
from tests.integration.mortal import WITHIN_S, MortalRedis, wait_until
from tests.integration.test_recovery import (
    PARTITIONS,
    SYMBOLS,
    entries,
    in_outboxes,
    part,
    publish,
    undisturbed,
)


def stop(process: subprocess.Popen[bytes]) -> str:
    """Ask a part to stop; what it said, once it has ended in time."""
    began = time.monotonic()
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - began < WITHIN_S, said.decode()
    return said.decode()


def test_a_worker_with_twenty_thousand_messages_waiting_leaves_in_order_and_the_next_goes_on(redis_url: str) -> None:
    tape = entries(400)
    assert len(tape) > 20_000
    with open_redis(redis_url) as client:
        for at in range(0, len(tape), 4000):
            publish(client, tape[at : at + 4000])
        with part("worker", redis_url) as worker:
            wait_until(lambda: counters(client, PARTITIONS).get("rows.microstructure", 0) > 0)
            stop(worker)
            assert worker.returncode == 0
        assert backlog(client, PARTITIONS).events > 0
        assert not any(client.exists(keys.owner(p)) for p in range(PARTITIONS))
        with part("worker", redis_url) as worker:
            wait_until(lambda: backlog(client, PARTITIONS).events == 0)
            stop(worker)
        assert in_outboxes(client) == undisturbed(tape)


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
@pytest.mark.parametrize("role", ["worker", "router"])
def test_a_part_whose_redis_is_gone_or_says_nothing_ends_in_time(mortal: MortalRedis, role: str, how: str) -> None:
    with redis.Redis.from_url(mortal.url) as client, part(role, mortal.url) as process:
        wait_until(lambda: client.exists(keys.members(role)))
        mortal.process.send_signal(getattr(signal, how))
        try:
            stop(process)
        finally:
            mortal.process.send_signal(signal.SIGCONT)
        assert process.returncode == 0


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a database that takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql://nobody@127.0.0.1:{server.getsockname()[1]}/none"


def test_a_writer_whose_database_says_nothing_ends_in_time(redis_url: str, silent: str) -> None:
    with open_redis(redis_url) as client, part("writer", redis_url, TFS_POSTGRES_URL=silent) as writer:
        wait_until(lambda: client.exists(keys.owner("writer")))
        stop(writer)


def test_a_writer_in_the_middle_of_a_batch_that_a_lock_holds_up_ends_in_time_and_every_row_is_there_afterwards(
    pipeline: Any, redis_url: str, postgres_url: str
) -> None:
    publish(pipeline.client, entries(5))
    worker = pipeline.worker()
    pipeline.work(worker)
    worker.close()
    with (
        psycopg.connect(postgres_url) as other,
        part("writer", redis_url, TFS_POSTGRES_URL=postgres_url) as writer,
    ):
        other.execute("LOCK TABLE microstructure IN ACCESS EXCLUSIVE MODE")
        waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tfs offline writer' AND wait_event_type = 'Lock'"
        wait_until(lambda: pipeline.postgres.execute(waits).fetchone() == (1,))
        assert "the process ends now" in stop(writer)
    assert backlog(pipeline.client, PARTITIONS).outbox > 0
    with part("writer", redis_url, TFS_POSTGRES_URL=postgres_url) as writer:
        wait_until(lambda: backlog(pipeline.client, PARTITIONS).outbox == 0)
        stop(writer)
        assert writer.returncode == 0
    assert pipeline.postgres.execute("SELECT count(*) FROM microstructure").fetchone() == (6 * len(SYMBOLS),)


def test_a_worker_that_compiles_its_kernels_ends_in_time(redis_url: str, tmp_path: Path) -> None:
    with part("worker", redis_url, XDG_CACHE_HOME=str(tmp_path)) as worker:
        wait_until(lambda: any(tmp_path.rglob("*.nbi")))
        stop(worker)
    with open_redis(redis_url) as client:
        assert not any(client.exists(keys.owner(p)) for p in range(PARTITIONS))
