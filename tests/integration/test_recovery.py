"""Servers go away in the middle of a load; the same processes go on, and nothing is lost, doubled or changed."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
import redis
from redis import exceptions

from feature_repo.project import project
from feature_repo.stores.online.client import address_of_url, connect
from feature_repo.stores.online.format import SymbolKeys, decode_time, event_and_silence, time_field
from feature_repo.stores.online.write import OnlineWriter
from ingest import offline_writer, router, settings
from ingest.messages.decode import encode
from ingest.messages.kinds import OrderBook, Tick, Trade
from ingest.streams import keys, outage, read
from ingest.streams.backlog import backlog, counters
from ingest.streams.outage import open_redis
from ingest.worker import commit, rows
from ingest.worker.partition import Partition
from ingest.worker.worker import Worker
from tests.integration.market import owners
from tests.integration.mortal import WITHIN_S, MortalRedis, send, wait_until
from transforms.catalog import VIEWS

T0 = 1_700_000_000_000
SYMBOLS = ("BTCUSDT", "ETHUSDT", "BINANCE:SOL-USDT")
PARTITIONS = 2

Entry = tuple[str, bytes, dict[bytes, bytes]]
"""Log, id, fields."""


def entries(seconds: int) -> list[Entry]:
    """A recorded market as entries with ids: a book and a trade of each symbol every 100 ms, and the tick that ends it."""
    out: list[Entry] = []

    def add(kind: str, message: Any) -> None:
        stream = keys.events(keys.partition_of(message.symbol, PARTITIONS))
        entry_id = b"%d-%d" % (T0 + seconds * 1000, len(out) + 1)
        out.append((stream, entry_id, {b"kind": kind.encode(), b"data": encode(message), b"recorded": b"1"}))

    for i in range(seconds * 10):
        ms = T0 + 100 * i
        for n, symbol in enumerate(SYMBOLS):
            mid = 100.0 * (n + 1) + 0.1 * ((i * 7 + n) % 11)
            bids = [(round(mid - 0.1 * k, 4), 1.0 + (i + k) % 5) for k in range(1, 6)]
            asks = [(round(mid + 0.1 * k, 4), 1.0 + (i + 2 * k) % 4) for k in range(1, 6)]
            add("book", OrderBook(ms, symbol, bids, asks, i, received=ms + 2))
            add("trade", Trade(ms + 50, symbol, mid, 0.5 + i % 3, ("buy", "sell")[i % 2], i, received=ms + 52))
    for symbol in SYMBOLS:
        add("tick", Tick(T0 + seconds * 1000, symbol))
    return out


Row = tuple[str, str, int, int, bytes, int]
"""View, symbol, event and created time, values, and how long the feed had been silent, microseconds."""


def of(columns: rows.Columns) -> list[Row]:
    times = zip(columns.symbols, columns.event_us.tolist(), columns.created_us.tolist(), strict=True)
    silences = columns.silent_us.tolist()
    return [(columns.view.name, *known, columns.values[i].tobytes(), silences[i]) for i, known in enumerate(times)]


def by_symbol(every: list[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows of each view and symbol, in the order in which they were given."""
    out: dict[tuple[str, str], list[Row]] = {}
    for row in every:
        out.setdefault(row[:2], []).append(row)
    return out


def undisturbed(tape: list[Entry]) -> dict[tuple[str, str], list[Row]]:
    """The rows of a run in which nothing happens."""
    conf = settings.load({"TFS_PARTITIONS": str(PARTITIONS)})
    partitions = {keys.events(p): Partition(p, conf) for p in range(PARTITIONS)}
    for stream, entry_id, fields in tape:
        partitions[stream].process(entry_id, fields, 0)
    return by_symbol([row for p in partitions.values() for b in p.pending.batches.values() for row in of(b.columns())])


def in_outboxes(client: redis.Redis) -> dict[tuple[str, str], list[Row]]:
    found: list[Row] = []
    for p in range(PARTITIONS):
        for _, fields in client.xrange(keys.outbox(p)):
            found += of(rows.decode(fields[b"rows"]))
    return by_symbol(found)


def assert_every_entity_is_whole(
    client: redis.Redis, expected: dict[tuple[str, str], list[Row]], *, newest: bool
) -> None:
    """Each view online is one of the expected rows, all of its fields: the newest one where the load is over."""
    for symbol in SYMBOLS:
        key, wanted = (
            SymbolKeys(project(), "symbol").keys([symbol])[0],
            SymbolKeys("expected", "symbol").keys([symbol])[0],
        )
        served: Any = client.hgetall(key)
        for view in VIEWS:
            if time_field(view.name) not in served:
                continue
            every = expected[view.name, symbol]
            time, _ = event_and_silence(served[time_field(view.name)])
            [row] = [row for row in every if row[2] == decode_time(time)]
            assert row is every[-1] or not newest
            columns = rows.Batch(view)
            columns.add(symbol, row[2], row[3], memoryview(row[4]).cast("d"))
            one = columns.columns()
            writer = OnlineWriter(client, "expected", view)
            writer.write([symbol], one.event_us, one.values, np.array([row[5]]), one.created_us)
        assert served == client.hgetall(wanted)
        client.delete(wanted)


@contextlib.contextmanager
def part(role: str, url: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """One process of the pipeline, killed in the end if it still runs; where the test fails, it tells where it was and what it logged."""
    environ = {**os.environ, "TFS_REDIS_URL": url, "TFS_PARTITIONS": str(PARTITIONS), "PYTHONFAULTHANDLER": "1", **more}
    command = [sys.executable, "-m", "ingest", "run", "--roles", role, "--inline"]
    process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stderr is not None
    try:
        yield process
    except BaseException:
        ended = process.poll()
        process.send_signal(signal.SIGABRT)  # the stacks of its threads go to its standard error
        process.send_signal(signal.SIGCONT)
        process.wait()
        print(f"{role} {process.pid}, {'running' if ended is None else f'ended with {ended}'}:", file=sys.stderr)
        print(process.stderr.read().decode(errors="replace")[-8000:], file=sys.stderr)
        raise
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stderr.close()


def publish(client: redis.Redis, some: list[Entry]) -> None:
    """Append entries once each, however often it takes."""

    def execute() -> list[Any]:
        pipe = client.pipeline(transaction=False)
        for stream, entry_id, fields in some:
            pipe.xadd(stream, fields, id=entry_id)  # type: ignore[arg-type]
        return pipe.execute(raise_on_error=False)

    send(execute)


def test_redis_is_killed_twice_in_the_middle_of_a_load_and_the_same_worker_goes_on(mortal: MortalRedis) -> None:
    tape = entries(60)
    expected = undisturbed(tape)
    with (
        connect(address_of_url(mortal.url), "redis") as client,
        part("worker", mortal.url) as worker,
    ):
        thirds = [tape[i * len(tape) // 3 : (i + 1) * len(tape) // 3] for i in range(3)]
        wait_until(lambda: all(client.exists(keys.owner(p)) for p in range(PARTITIONS)))
        for i, third in enumerate(thirds):
            for at in range(0, len(third), 100):
                publish(client, third[at : at + 100])
            if i < 2:
                wait_until(lambda n=i: counters(client, PARTITIONS).get("rows.microstructure", 0) > 40 * n)
                mortal.kill()
                publisher = threading.Thread(target=publish, args=(client, thirds[i + 1][:100]))
                publisher.start()
                mortal.start()
                publisher.join()
                assert_every_entity_is_whole(client, expected, newest=False)
        wait_until(lambda: backlog(client, PARTITIONS).events == 0)
        assert worker.poll() is None
        assert in_outboxes(client) == expected
        assert_every_entity_is_whole(client, expected, newest=True)
        began = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        _, said = worker.communicate(timeout=60)
        assert worker.returncode == 0 and time.monotonic() - began < WITHIN_S
        lines = [line for line in said.decode().splitlines() if "ERROR" in line]
        assert 1 <= len(lines) <= 6 and not any("Traceback" in line for line in lines), lines
        assert not any(client.exists(keys.owner(p)) for p in range(PARTITIONS))


def test_a_killed_workers_partitions_are_owned_again_in_time_and_a_frozen_one_comes_back(redis_url: str) -> None:
    tape = entries(30)
    third = len(tape) // 3
    with (
        open_redis(redis_url) as client,
        part("worker", redis_url) as first,
        part("worker", redis_url) as second,
    ):
        wait_until(lambda: len(owners(client, PARTITIONS)) == 2)
        publish(client, tape[:third])
        first.kill()
        killed = time.monotonic()
        wait_until(lambda: len(owners(client, PARTITIONS)) == 1)
        assert time.monotonic() - killed < WITHIN_S
        [left] = owners(client, PARTITIONS)
        publish(client, tape[third : 2 * third])
        second.send_signal(signal.SIGSTOP)
        with part("worker", redis_url) as third_one:
            wait_until(lambda: len(names := owners(client, PARTITIONS)) == 1 and left not in names)
            publish(client, tape[2 * third :])
            wait_until(lambda: backlog(client, PARTITIONS).events == 0)
            second.send_signal(signal.SIGCONT)
            wait_until(lambda: len(names := owners(client, PARTITIONS)) == 2 and left in names)
            expected = undisturbed(tape)
            assert in_outboxes(client) == expected
            assert_every_entity_is_whole(client, expected, newest=True)
            assert second.poll() is None and third_one.poll() is None
            second.terminate()
            stopped = time.monotonic()
            assert second.wait(60) == 0
            wait_until(lambda: len(owners(client, PARTITIONS)) == 1)
            assert time.monotonic() - stopped < WITHIN_S


def test_a_full_redis_is_waited_for_and_nothing_is_lost(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    tape = entries(20)
    stop = threading.Event()
    conf = settings.load({"TFS_PARTITIONS": str(PARTITIONS)})
    publish(redis_client, tape)
    redis_client.config_set("maxmemory", 1)
    worker = Worker(redis_client, conf)
    thread = threading.Thread(target=worker.run, args=(stop,))
    try:
        thread.start()
        wait_until(lambda: "OutOfMemoryError" in caplog.text)
        assert not counters(redis_client, PARTITIONS)
        redis_client.config_set("maxmemory", 0)
        wait_until(lambda: backlog(redis_client, PARTITIONS).events == 0)
    finally:
        redis_client.config_set("maxmemory", 0)
        stop.set()
        thread.join()
    assert in_outboxes(redis_client) == undisturbed(tape)
    assert len([r for r in caplog.records if r.name == outage.__name__ and r.levelno == logging.ERROR]) == 1


def test_a_redis_that_fills_up_takes_a_commit_and_a_move_whole_and_no_new_message(redis_client: redis.Redis) -> None:
    """The online write is refused before anything else is written; what makes room goes on."""
    publish(redis_client, entries(5))
    redis_client.xadd("market_data", {"data": encode(Trade(T0, "A", 1.0, 1.0))})
    worker = Worker(redis_client, settings.load({"TFS_PARTITIONS": str(PARTITIONS)}))
    worker.open()
    taken = read.entries_after(redis_client, {keys.events(p): read.START for p in range(PARTITIONS)}, 1000, 1)
    plain = read.entries_after(redis_client, {"market_data": read.START}, 1, 1)
    worker._process(taken)
    chosen = [(partition, partition.take_pending()) for partition in worker._partitions.values()]
    pipe = redis_client.pipeline(transaction=False)
    for partition, pending in chosen:
        token = worker._member.held[partition.number]
        commit.add_commit(pipe, partition, token, pending, partition.save(), settings.load({}))
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(exceptions.OutOfMemoryError):
            worker._write_online(chosen)
        assert pipe.execute() == [1] * PARTITIONS
        assert router.Router(redis_client, PARTITIONS).move(plain) == 1
        with pytest.raises(exceptions.OutOfMemoryError):
            publish_one(redis_client)
    finally:
        redis_client.config_set("maxmemory", 0)
    assert in_outboxes(redis_client) == undisturbed(entries(5))
    assert backlog(redis_client, PARTITIONS).events == 1  # the one that was moved


def publish_one(client: redis.Redis) -> None:
    client.xadd("market_data", {"data": b"{}"})


def test_a_read_only_database_is_waited_for_and_named_once(
    pipeline: Any, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    publish(pipeline.client, entries(5))
    pipeline.settings = settings.load({"TFS_PARTITIONS": str(PARTITIONS)})
    worker = pipeline.worker()
    pipeline.work(worker)
    worker.close()
    name = psycopg.conninfo.conninfo_to_dict(postgres_url)["dbname"]
    pipeline.postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    stop = threading.Event()
    thread = threading.Thread(target=offline_writer.run, args=(pipeline.client, postgres_url, PARTITIONS, stop))
    try:
        thread.start()
        wait_until(lambda: "ReadOnlySqlTransaction" in caplog.text)
        waiting = backlog(pipeline.client, PARTITIONS).outbox
        assert waiting > 0
        pipeline.postgres.execute("SET default_transaction_read_only = off")
        pipeline.postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        wait_until(lambda: backlog(pipeline.client, PARTITIONS).outbox == 0)
    finally:
        stop.set()
        thread.join()
    assert pipeline.postgres.execute("SELECT count(*) FROM microstructure").fetchone() == (6 * len(SYMBOLS),)
    assert caplog.text.count("cannot go on") == 1
