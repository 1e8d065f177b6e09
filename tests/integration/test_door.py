"""Two versions of the kernels in one fleet: the second waits, and nothing begins anew."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from ingest.observe import snapshot, watch_screen
from ingest.streams import keys, membership
from ingest.streams.backlog import backlog
from ingest.worker import versions
from ingest.worker.worker import Worker
from tests.integration.market import CONF, PARTITIONS, publish
from transforms import kernels


@contextlib.contextmanager
def changed(kernel: str = "rsi", by: int = 1) -> Iterator[None]:
    """Let the code that runs in the block have another version of a kernel."""
    with pytest.MonkeyPatch.context() as patch:
        others = tuple((name, version + by * (name == kernel)) for name, version in kernels.VERSIONS)
        patch.setattr(kernels, "VERSIONS", others)
        yield


def turns(*workers: Worker, until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline, [worker.holds() for worker in workers]
        for worker in workers:
            worker.step()


def checkpoints(client: redis.Redis) -> list[dict[bytes, bytes]]:
    return [client.hgetall(keys.checkpoint(p)) for p in range(PARTITIONS)]


def test_a_worker_with_other_kernels_waits_and_changes_nothing_while_the_first_version_runs(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    first = Worker(redis_client, CONF)
    first.open()
    publish(redis_client, 0, 3)
    turns(first, until=lambda: backlog(redis_client, PARTITIONS).events == 0)
    first._flush(first._partitions.values(), save=True)
    before = checkpoints(redis_client)
    with changed():
        second = Worker(redis_client, CONF)
        second.open()
        for _ in range(5):
            time.sleep(membership.BEAT_S)
            second.step()
            first.step()
    assert second.holds() == [] and sorted(first.holds()) == list(range(PARTITIONS))
    assert "rsi 2, not 1" in caplog.text and "takes no partition" in caplog.text
    assert checkpoints(redis_client) == before
    restarted = Worker(redis_client, CONF)  # of the first version: its fleet takes it in
    restarted.open()
    turns(first, restarted, until=lambda: len(first.holds()) == len(restarted.holds()) == PARTITIONS // 2)
    for worker in (first, restarted):
        worker.close()
    with changed():
        turns(second, until=lambda: len(second.holds()) == PARTITIONS)
        assert "this worker takes part now" in caplog.text
        second.close()
    assert {checkpoint[b"kernels"] for checkpoint in checkpoints(redis_client)} != {before[0][b"kernels"]}


def test_of_two_versions_that_start_at_once_on_an_empty_redis_one_waits(redis_client: redis.Redis) -> None:
    first = Worker(redis_client, CONF)
    with changed():
        second = Worker(redis_client, CONF)
        second.open()
    first.open()
    assert (len(first.holds()), len(second.holds())) == (0, PARTITIONS)
    second.close()
    first.close()


def test_a_version_that_died_is_waited_for_until_it_is_gone_for_long(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "GONE_MS", 3000)
    first = Worker(redis_client, CONF)
    first.open()
    publish(redis_client, 0, 3)
    turns(first, until=lambda: backlog(redis_client, PARTITIONS).events == 0)
    first.flush()
    now_ms = time.time_ns() // 1_000_000
    redis_client.hset(keys.SIGNS_OF_LIFE, mapping={"last": now_ms, "since": now_ms - 3_600_000})
    redis_client.delete(*(keys.owner(p) for p in range(PARTITIONS)))  # as after a kill: its leases have ended
    died = time.monotonic()
    with changed():
        second = Worker(redis_client, CONF)
        second.open()
        assert second.holds() == []
        turns(second, until=lambda: len(second.holds()) == PARTITIONS)
        assert time.monotonic() - died > 2.5
        second.close()


def test_a_redis_that_stood_still_does_not_make_a_version_gone(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "GONE_MS", 3000)
    first = Worker(redis_client, CONF)
    first.open()
    ((name, at_ms),) = redis_client.zrange(keys.members("worker"), 0, -1, withscores=True)
    redis_client.zadd(keys.members("worker"), {name: at_ms - 60_000})
    redis_client.hset(keys.SIGNS_OF_LIFE, mapping={"last": int(at_ms) - 60_000, "since": int(at_ms) - 3_600_000})
    with changed():
        second = Worker(redis_client, CONF)
        second.open()
        assert second.holds() == [] and not second._member.is_in
    first.step()
    time.sleep(membership.BEAT_S)
    first.step()
    assert len(first.holds()) == PARTITIONS
    first.close()
    second.close()


def test_a_code_names_versions_and_redis_knows_what_it_stands_for(redis_client: redis.Redis) -> None:
    versions.announce(redis_client)
    old = versions.code().decode()
    theirs = versions.known(redis_client, [old])[old]
    assert versions.shown(theirs, versions.here()) == ""
    with changed("vpin", 6):
        assert versions.code().decode() != old
        assert versions.shown(theirs, versions.here()) == "vpin 7, not 1"
    assert versions.shown(versions.known(redis_client, [""])[""], versions.here()) == versions.NOBODY


def test_status_tells_both_versions_and_who_waits(redis_client: redis.Redis) -> None:
    first = Worker(redis_client, CONF)
    first.open()
    publish(redis_client, 0, 2)
    turns(first, until=lambda: backlog(redis_client, PARTITIONS).events == 0)
    first.flush()
    assert not list(watch_screen.trouble(snapshot.snapshot(redis_client, CONF, 0)))
    with changed():
        second = Worker(redis_client, CONF)
        second.open()
    old, new = (worker._member.code for worker in (first, second))
    seen = snapshot.snapshot(redis_client, CONF, 0)
    assert {code: about["serve"] for code, about in seen["kernels"].items()} == {old: 1, new: 0}
    told = list(watch_screen.trouble(seen))
    assert f"kernels {old}: 1 workers serve, 0 wait, {PARTITIONS} partitions" in told
    assert f"kernels {new}: 0 workers serve, 1 wait, 0 partitions: rsi 2, not 1" in told
    second.close()
    first.close()
    assert not redis_client.exists(keys.members("worker"), keys.waiting("worker"))
