"""Several workers on the same partitions: shares, takeover, and what a worker that slept too long can still do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import redis

from feature_repo.stores.online.format import event_and_silence
from ingest import router, settings
from ingest.messages.decode import encode
from ingest.messages.kinds import Trade
from ingest.streams import keys, membership, read
from ingest.streams.backlog import backlog
from ingest.worker import rows
from ingest.worker.symbol import Symbol
from ingest.worker.worker import Worker
from tests.integration.market import CONF, PARTITIONS, SYMBOLS, T0, publish


def turn_until(done: Callable[[], bool], *workers: Worker) -> None:
    """Turns of the workers in this thread, until ``done``."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, [worker.holds() for worker in workers]
        for worker in workers:
            worker.step()


def outboxes(client: redis.Redis) -> list[list[bytes]]:
    return [[fields[b"rows"] for _, fields in client.xrange(keys.outbox(p))] for p in range(PARTITIONS)]


def state(client: redis.Redis) -> list[dict[bytes, bytes]]:
    """The checkpoints without what counts from entry to entry: ids differ from run to run."""
    return [
        {k: v for k, v in client.hgetall(keys.checkpoint(p)).items() if k not in (b"last_id", b"state_id")}
        for p in range(PARTITIONS)
    ]


def test_workers_share_the_partitions_as_they_come_and_go(redis_client: redis.Redis) -> None:
    a, b, c = (Worker(redis_client, CONF) for _ in range(3))
    a.open()
    assert a.holds() == [0, 1, 2, 3]
    publish(redis_client, 0, 2)
    turn_until(lambda: backlog(redis_client, PARTITIONS).events == 0, a)
    b.open()
    turn_until(lambda: len(a.holds()) == len(b.holds()) == 2, a, b)
    c.open()
    turn_until(lambda: sorted(map(len, (a.holds(), b.holds(), c.holds()))) == [1, 1, 2], a, b, c)
    assert sorted(a.holds() + b.holds() + c.holds()) == [0, 1, 2, 3]
    publish(redis_client, 2, 4)
    turn_until(lambda: backlog(redis_client, PARTITIONS).events == 0, a, b, c)
    b.close()
    assert b.holds() == []
    turn_until(lambda: len(a.holds()) == len(c.holds()) == 2, a, c)
    a.close()
    turn_until(lambda: c.holds() and sorted(c.holds()) == [0, 1, 2, 3], c)
    publish(redis_client, 4, 6)
    turn_until(lambda: backlog(redis_client, PARTITIONS).events == 0, c)
    c.close()
    passed_on, left = state(redis_client), redis_client.keys("own:*") + redis_client.keys("members:*")
    assert left == []

    redis_client.flushall()
    alone = Worker(redis_client, CONF)
    alone.open()
    for second in (0, 2, 4):
        publish(redis_client, second, second + 2)
    turn_until(lambda: backlog(redis_client, PARTITIONS).events == 0, alone)
    alone.close()
    assert state(redis_client) == passed_on


def test_a_worker_that_wakes_up_too_late_changes_nothing_and_joins_again(redis_client: redis.Redis) -> None:
    publish(redis_client, 0, 3)
    sleeper, heir = Worker(redis_client, CONF), Worker(redis_client, CONF)
    sleeper.open()
    turn_until(lambda: backlog(redis_client, PARTITIONS).events == 0, sleeper)
    publish(redis_client, 3, 5)
    while not any(p.pending.n_rows for p in sleeper._partitions.values()):
        batch = read.entries_after(redis_client, {s: p.position for s, p in sleeper._partitions.items()}, 1000, 10)
        sleeper._process(batch)  # it falls asleep with rows in its hands, and its leases end
    redis_client.delete(*(keys.owner(p) for p in range(PARTITIONS)), keys.members("worker"))
    heir.open()
    assert heir.holds() == [0, 1, 2, 3]
    publish(redis_client, 5, 8)
    turn_until(lambda: backlog(redis_client, PARTITIONS).events == 0, heir)
    heir.flush()
    before = outboxes(redis_client), state(redis_client), online(redis_client)
    sleeper.flush()
    assert sleeper.holds() == []
    assert (outboxes(redis_client), state(redis_client), online(redis_client)) == before
    turn_until(lambda: len(sleeper.holds()) == len(heir.holds()) == 2, sleeper, heir)
    sleeper.close()
    heir.close()


def test_a_woken_worker_stores_nothing_online_ahead_of_its_heir(redis_client: redis.Redis) -> None:
    """The heir may have other kernels, and its rows are those of the tables."""
    publish(redis_client, 0, 3)
    sleeper, heir = Worker(redis_client, CONF), Worker(redis_client, CONF)
    sleeper.open()
    turn_until(lambda: backlog(redis_client, PARTITIONS).events == 0, sleeper)
    publish(redis_client, 3, 5)
    sleeper._process(
        read.entries_after(redis_client, {s: p.position for s, p in sleeper._partitions.items()}, 1000, 10)
    )
    redis_client.delete(*(keys.owner(p) for p in range(PARTITIONS)), keys.members("worker"))
    heir.open()
    before, committed = online(redis_client), (outboxes(redis_client), state(redis_client))
    sleeper.flush()
    assert sleeper.holds() == []
    assert (outboxes(redis_client), state(redis_client)) == committed
    assert online(redis_client) == before
    turn_until(lambda: backlog(redis_client, PARTITIONS).events == 0, heir)
    heir.flush()
    after = online(redis_client)
    assert after.keys() == before.keys() and all(after[key] != before[key] for key in after)
    heir.close()


def online(client: redis.Redis) -> dict[bytes, dict[bytes, Any]]:
    """What is served; times without the created time, which is each worker's clock."""
    found = {key: client.hgetall(key) for key in client.keys("*trading")}
    return {
        key: {name: event_and_silence(raw) if name.startswith(b"_ts:") else raw for name, raw in fields.items()}
        for key, fields in found.items()
    }


def entry(symbol: str, at_ms: int) -> dict[str, bytes]:
    return {"data": encode(Trade(at_ms, symbol, 1.0, 1.0, "buy", received=at_ms))}


def in_logs(client: redis.Redis) -> int:
    return sum(client.xlen(keys.events(p)) for p in range(PARTITIONS))


def test_a_partition_that_takes_longer_to_open_than_a_lease_lasts_is_not_lost(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(redis_client, 0, 3)
    first = Worker(redis_client, CONF)
    first.open()
    turn_until(lambda: backlog(redis_client, PARTITIONS).events == 0, first)
    first.close()
    monkeypatch.setattr(membership, "LEASE_MS", 400)
    monkeypatch.setattr(membership, "BEAT_S", 0.04)
    quick, began = Symbol.restore, time.monotonic()

    def slow(symbol: Symbol, parts: Mapping[str, bytes]) -> None:
        quick(symbol, parts)
        time.sleep(0.1)  # as long as a thousand of them take: a fact of the test, nothing is waited for

    monkeypatch.setattr(Symbol, "restore", slow)
    second = Worker(redis_client, CONF)
    second.open()
    assert time.monotonic() - began > 1
    assert second.holds() == [0, 1, 2, 3]
    assert redis_client.exists(*(keys.owner(p) for p in range(PARTITIONS))) == PARTITIONS
    assert [redis_client.get(keys.fence(p)) for p in range(PARTITIONS)] == [b"2"] * PARTITIONS
    second.close()


def test_an_entry_of_ten_thousand_fields_is_refused_and_stops_neither_router_nor_worker(
    redis_client: redis.Redis,
) -> None:
    many = {f"f{i}": "x" for i in range(10_000)}
    redis_client.xadd("market_data", many)
    redis_client.xadd("market_data", entry("A", T0))
    redis_client.xadd(keys.events(1), {"kind": "trade", **many})
    batch = read.entries_after(redis_client, {"market_data": read.START}, 100, 1)
    assert router.Router(redis_client, PARTITIONS).move(batch) == 2
    worker = Worker(redis_client, CONF)
    worker.open()
    turn_until(lambda: backlog(redis_client, PARTITIONS).events == 0, worker)
    worker.close()
    letters = [fields for name in keys.letter_streams(PARTITIONS) for _, fields in redis_client.xrange(name)]
    assert [letter[b"reason"] for letter in letters] == [b"wrong_type", b"missing_field"]
    assert all(b"f9999" in letter[b"fields"] for letter in letters)


def test_the_log_keeps_every_entry_behind_the_saved_state(redis_client: redis.Redis) -> None:
    publish(redis_client, 0, 30)
    every = [[entry_id for entry_id, _ in redis_client.xrange(keys.events(p))] for p in range(PARTITIONS)]
    worker = Worker(redis_client, CONF)
    worker.open()
    turn_until(lambda: backlog(redis_client, PARTITIONS).events == 0, worker)
    for _ in range(2):  # written, and then saved too
        for p, published in enumerate(every):
            saved = redis_client.hget(keys.checkpoint(p), "state_id")
            kept = {entry_id for entry_id, _ in redis_client.xrange(keys.events(p))}
            assert [e for e in published if read.is_newer(e, saved) and e not in kept] == []
        worker.close()
    assert all(redis_client.hget(keys.checkpoint(p), "state_id") == ids[-1] for p, ids in enumerate(every) if ids)
    assert 0 < in_logs(redis_client) < 1000


def test_a_symbol_whose_kernels_changed_is_warm_from_the_history_that_the_log_keeps(redis_client: redis.Redis) -> None:
    conf = settings.load({"TFS_PARTITIONS": str(PARTITIONS), "TFS_LOG_HISTORY_S": "3600"})

    def work(from_s: int, to_s: int) -> None:
        publish(redis_client, from_s, to_s)
        worker = Worker(redis_client, conf)
        worker.open()
        turn_until(lambda: backlog(redis_client, PARTITIONS).events == 0, worker)
        worker.close()

    work(0, 10)
    work(10, 12)
    undisturbed = state(redis_client), [values(found) for found in outboxes(redis_client)]
    redis_client.flushall()
    work(0, 10)
    for symbol in SYMBOLS[:3]:
        p = keys.partition_of(symbol, PARTITIONS)
        # As earlier kernels wrote it.
        assert redis_client.hset(keys.checkpoint(p), f"{symbol} engine", "0 1000000") == 0
    work(10, 12)
    assert (state(redis_client), [values(found) for found in outboxes(redis_client)]) == undisturbed


def values(found: list[bytes]) -> dict[tuple[str, str, int], bytes]:
    """Rows of an outbox by view, symbol and time; however they were gathered into batches."""
    out = {}
    for columns in map(rows.decode, found):
        for i, known in enumerate(zip(columns.symbols, columns.event_us.tolist(), strict=True)):
            assert (columns.view.name, *known) not in out
            out[columns.view.name, *known] = columns.values[i].tobytes()
    return out
