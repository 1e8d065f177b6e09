"""The worker's loop on one server, stepped by hand."""

from __future__ import annotations

import time
import weakref
from typing import Any

import numpy as np
import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.project import project
from feature_repo.stores.online.format import SymbolKeys, feature_field
from feature_repo.stores.online.write import OnlineWriter
from ingest import settings
from ingest.messages.decode import encode
from ingest.messages.kinds import OrderBook, Tick, Trade
from ingest.publish.publisher import Publisher
from ingest.streams import keys, membership, outage, read
from ingest.streams.backlog import counters
from ingest.streams.dead_letters import newest
from ingest.worker import commit, kernels, rows, versions
from ingest.worker.partition import Partition
from ingest.worker.symbol import Symbol
from ingest.worker.worker import Worker
from tests.integration.mortal import wait_until
from transforms.catalog import VIEW
from transforms.engine import Engine

T0 = 1_700_000_000_000
PARTITIONS = 2
CONF = settings.load({"TFS_PARTITIONS": str(PARTITIONS)})


def test_a_clock_that_is_set_forward_makes_no_symbol_quiet(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "WRITTEN_S", 0.0)
    now_us, steady_us = [T0 * 1000 + 400_000], [0]
    worker = Worker(redis_client, CONF, lambda: now_us[0], lambda: steady_us[0])
    kernels.warm_up()  # takes long enough, the first time, to look like an outage
    _was_never_away(redis_client)
    worker.open()
    with Publisher(redis_client, PARTITIONS) as publisher:
        publisher.publish("book", OrderBook(T0 + 400, "A", [(99.0, 1.0)], [(101.0, 1.0)], received=T0 + 400))
    for elapsed_s, ticks in ((0, 0), (0.9, 0), (1.8, 0), (2.7, 1)):
        now_us[0], steady_us[0] = T0 * 1000 + 3_600_000_000, round(elapsed_s * 1_000_000)
        _was_never_away(redis_client)
        worker.step()
        kinds = [fields[b"kind"] for _, fields in redis_client.xrange(keys.events(keys.partition_of("A", PARTITIONS)))]
        assert kinds.count(b"tick") == ticks, elapsed_s
    worker.close()


def _was_never_away(client: redis.Redis) -> None:
    """Let Redis be known for an hour, however slow this machine is and however young the server."""
    now_ms = time.time_ns() // 1_000_000
    client.hset(keys.SIGNS_OF_LIFE, mapping={"last": now_ms, "since": now_ms - 3_600_000})


@pytest.mark.parametrize("slow", ["process", "save"])
def test_a_step_that_takes_longer_than_a_lease_does_not_lose_it(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    lease_s, n = 0.4, 20
    monkeypatch.setattr(membership, "LEASE_MS", round(lease_s * 1000))
    monkeypatch.setattr(membership, "BEAT_S", lease_s / 5)
    monkeypatch.setattr(commit, "LEASE_MS", round(lease_s * 1000))
    target = Partition if slow == "process" else Symbol
    quick = getattr(target, slow)
    monkeypatch.setattr(target, slow, lambda *args, **named: (time.sleep(3 * lease_s / n), quick(*args, **named))[1])
    worker = Worker(redis_client, CONF)
    worker.open()
    with Publisher(redis_client, PARTITIONS) as publisher:
        for i in range(2 * n):
            publisher.publish("trade", Trade(T0, f"S{i}", 1.0, 1.0), recorded=True)
    while worker.step():
        worker._flush(worker._partitions.values(), save=True)
    assert worker.holds() == [0, 1]
    assert [redis_client.get(keys.fence(p)) for p in range(PARTITIONS)] == [b"1"] * PARTITIONS
    assert counters(redis_client, PARTITIONS)["accepted.trade"] == 2 * n
    worker.close()


def test_a_large_state_has_a_lease_that_its_commit_cannot_outlive(redis_client: redis.Redis) -> None:
    state = {b"A order": b"x" * 200_000_000}
    assert commit.lease_for(state) == commit.LEASE_MS + 20_000 and commit.lease_for({}) == commit.LEASE_MS
    assert commit.lease_for(dict.fromkeys(map(bytes, range(10)), state[b"A order"])) == membership.LONGEST_LEASE_MS
    member = membership.Member(redis_client, "worker", [0])
    member.beat()
    member.acquire_free()
    assert member.extend(0, 22_000) and redis_client.pttl(keys.owner(0)) > 20_000
    redis_client.set(keys.owner(0), "99:another")
    assert not member.extend(0, 22_000) and not member.held
    assert redis_client.get(keys.owner(0)) == b"99:another"


def test_a_large_state_is_saved_though_the_server_takes_longer_than_a_command_may_last(
    one_server: None, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is busy for half a second stands for one that reads 200 MB; the worker's client waits for 0.2 s."""
    pool = redis_client.connection_pool
    hasty = redis.Redis.from_pool(redis.ConnectionPool(**{**pool.connection_kwargs, "socket_timeout": 0.2}))
    monkeypatch.setattr(commit, "SLOWEST_BYTES_PER_MS", 1)  # so that a symbol of a few kB is a large state
    worker = Worker(hasty, CONF)
    worker.open()
    with Publisher(redis_client, PARTITIONS) as publisher:
        for i in range(500):
            publisher.publish("trade", Trade(T0 + i, "A", 1.0 + i / 1000, 1.0), recorded=True)
    positions = {stream: partition.position for stream, partition in worker._partitions.items()}
    worker._process(read.entries_after(redis_client, positions, 10, 1000))
    add = commit.add_commit

    def add_while_the_server_is_busy(*args: Any) -> None:
        redis_client.client_pause(500, all=False)
        add(*args)

    monkeypatch.setattr(commit, "add_commit", add_while_the_server_is_busy)
    worker._flush(worker._partitions.values(), save=True)
    p = keys.partition_of("A", PARTITIONS)
    assert redis_client.hexists(keys.checkpoint(p), "A order")
    assert min(redis_client.pttl(keys.owner(n)) for n in range(PARTITIONS)) > 2 * membership.LEASE_MS
    hasty.close()


def test_a_worker_that_begins_again_after_an_outage_gives_back_the_memory_of_the_states_that_it_had(
    redis_client: redis.Redis,
) -> None:
    worker = Worker(redis_client, CONF)
    with Publisher(redis_client, PARTITIONS) as publisher:
        publisher.publish("trade", Trade(T0, "A", 1.0, 1.0), recorded=True)
    worker.open()
    worker.step()
    worker._flush(worker._partitions.values(), save=True)
    before = [weakref.ref(partition.symbols) for partition in worker._partitions.values()]
    worker.open()
    assert [symbols() for symbols in before] == [None, None]
    worker._drop(keys.partition_of("A", PARTITIONS))  # as after a lost lease, with the seat acquired again
    worker._settle()
    assert sum(len(p.symbols) for p in worker._partitions.values()) == 1
    worker.close()


def test_a_worker_that_renews_its_leases_all_the_time_gives_others_their_share(redis_client: redis.Redis) -> None:
    """As one does on a cluster, before each row goes online."""
    worker = Worker(redis_client, CONF)
    worker.open()
    other = membership.Member(redis_client, "worker", range(PARTITIONS), versions.code().decode())

    def has_given() -> bool:
        other.beat()
        worker._beat()
        worker.step()
        return len(worker.holds()) == 1

    wait_until(has_given)
    worker.close()


def test_a_held_message_on_which_our_code_fails_is_refused_itself(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sound = Engine.trade

    def fails(engine: Engine, t_us: int, price: float, size: float, side: int) -> None:
        if price == 13.0:
            raise ZeroDivisionError("a fault of ours")
        sound(engine, t_us, price, size, side)

    monkeypatch.setattr(Engine, "trade", fails)
    worker = Worker(redis_client, CONF)
    worker.open()
    with Publisher(redis_client, PARTITIONS) as publisher:
        publisher.publish("book", OrderBook(T0, "A", [(99.0, 1.0)], [(101.0, 1.0)]), recorded=True)
        for i, price in enumerate((12.0, 13.0, 14.0)):
            publisher.publish("trade", Trade(T0 + i, "A", price, 1.0, "buy"), recorded=True)
        publisher.publish("tick", Tick(T0 + 2000, "A"), recorded=True)
    while worker.step():
        pass
    worker.close()
    found = counters(redis_client, PARTITIONS)
    kinds = {"accepted.book": 1, "accepted.trade": 2, "accepted.tick": 1, "refused.failed": 1}
    assert {name: n for name, n in found.items() if not name.startswith(("rows", "latency"))} == kinds
    [letter] = newest(redis_client, 4)
    assert dict(letter.fields)[b"data"] == encode(Trade(T0 + 1, "A", 13.0, 1.0, "buy"))
    assert "a fault of ours" in caplog.text


def test_a_partition_that_another_worker_took_over_is_dropped_with_what_was_not_committed(
    redis_client: redis.Redis,
) -> None:
    worker = Worker(redis_client, CONF, lambda: T0 * 1000)
    worker.open()
    assert worker.holds() == [0, 1]
    p = keys.partition_of("A", PARTITIONS)
    with Publisher(redis_client, PARTITIONS) as publisher:
        publisher.publish("trade", Trade(T0, "A", 1.0, 1.0), recorded=True)
    redis_client.set(keys.owner(p), "99:another")
    while worker.holds() == [0, 1]:
        worker.step()
        worker.flush()
    assert worker.holds() == [1 - p]
    assert not redis_client.exists(keys.checkpoint(p), keys.counters(p))
    worker.close()


def test_an_owner_that_froze_before_its_online_write_leaves_the_heirs_row(
    one_server: None, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, p = VIEW["microstructure"], keys.partition_of("A", PARTITIONS)
    worker = Worker(redis_client, CONF, lambda: T0 * 1000 + 3_600_000_000)  # its clock is an hour ahead
    worker.open()
    write_online = worker._write_online

    def frozen(chosen: list) -> None:
        if redis_client.get(keys.owner(p)) != b"99:heir":
            redis_client.set(keys.owner(p), "99:heir")
            row = (np.array([T0 * 1000 + 1_000_000]), np.full((1, len(view.names)), 7.0))
            OnlineWriter(redis_client, project(), view).write(["A"], *row, None, np.array([T0 * 1000 + 2_000_000]))
        write_online(chosen)

    monkeypatch.setattr(worker, "_write_online", frozen)
    with Publisher(redis_client, PARTITIONS) as publisher:
        for ms in (400, 2000):
            publisher.publish("book", OrderBook(T0 + ms, "A", [(99.0, 1.0)], [(101.0, 1.0)], received=T0 + ms))
    while worker.step():
        pass
    worker.flush()
    assert worker.holds() == [1 - p]
    entity = redis_client.hgetall(SymbolKeys(project(), "symbol").keys(["A"])[0])
    assert entity[feature_field(view.name, "mid_price")] == Value(double_val=7.0).SerializeToString()
    worker.close()


@pytest.mark.parametrize("recorded", [False, True])
def test_a_row_of_a_long_turn_is_not_created_before_it_can_be_read(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    now_us = [T0 * 1000 + 5_000_000]
    process = Partition.process

    def slow(*args: object) -> object:
        now_us[0] += 300_000
        return process(*args)

    monkeypatch.setattr(Partition, "process", slow)
    worker = Worker(redis_client, CONF, lambda: now_us[0], lambda: 0)
    worker.open()
    written_at = []
    write_online = worker._write_online
    monkeypatch.setattr(worker, "_write_online", lambda chosen: (written_at.append(now_us[0]), write_online(chosen)))
    with Publisher(redis_client, PARTITIONS) as publisher:
        for ms in (400, 2000, 2100, 2200, 2300, 2400, 2500):
            book = OrderBook(T0 + ms, "A", [(99.0, 1.0)], [(101.0, 1.0)], received=T0 + ms)
            publisher.publish("book", book, recorded=recorded)
    while worker.step():
        pass
    worker.close()
    entries = redis_client.xrange(keys.outbox(keys.partition_of("A", PARTITIONS)))
    [of_the_book] = [c for _, fields in entries if (c := rows.decode(fields[b"rows"])).view.name == "microstructure"]
    expected = T0 * 1000 + 2_000_000 if recorded else written_at[0]
    assert of_the_book.created_us[0] == expected
