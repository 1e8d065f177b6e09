"""Backpressure: how a producer waits for those who read."""

from __future__ import annotations

import threading

import pytest
import redis

from ingest.publish import readers
from ingest.publish.readers import NotReadError, Readers
from ingest.streams import keys


def test_a_check_is_due_every_so_many_messages(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "CHECK_EVERY", 10)
    some = Readers(redis_client, 1)
    assert [some.is_check_due(4) for _ in range(6)] == [False, False, True, False, False, True]


def test_waiting_ends_when_the_posts_are_read_or_the_producer_stops(redis_client: redis.Redis) -> None:
    Readers(redis_client, 1, patience_s=0.01).wait_for_scorer()
    redis_client.xadd(keys.SOCIAL, {"data": b""})
    stop = threading.Event()
    stop.set()
    Readers(redis_client, 1, stop=stop).wait_for_scorer()
    with pytest.raises(NotReadError, match="No scorer reads the posts: 1 wait"):
        Readers(redis_client, 1, patience_s=0.01).wait_for_scorer()


def test_patience_starts_anew_whenever_the_number_falls(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [redis_client.xadd(keys.SOCIAL, {"data": b""}) for _ in range(3)]
    now, waits = [0.0], []
    monkeypatch.setattr(readers.time, "monotonic", lambda: now[0])
    some = Readers(redis_client, 1, patience_s=1.0)

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        now[0] += 0.9
        redis_client.xdel(keys.SOCIAL, ids.pop())
        return False

    monkeypatch.setattr(some._stop, "wait", wait)
    some.wait_for_scorer()
    assert len(waits) == 3  # 2.7 s in all, none of them without progress


def test_the_logs_are_crowded_above_their_bound(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "WAITING_MAX", 2)
    for crowded in (False, False, True):
        redis_client.xadd(keys.events(0), {"data": b""})
        assert Readers(redis_client, 1).is_crowded() is crowded
