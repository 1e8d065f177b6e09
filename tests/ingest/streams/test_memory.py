"""The alarm before Redis is full."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import redis

from ingest.streams import memory


def test_the_alarm_is_told_once_above_four_fifths_and_taken_back_once_below_seven_tenths(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory, "LOOK_S", 0.0)
    about: Any = redis_client.info("memory")
    used = about["used_memory"]
    alarm = memory.Alarm(redis_client)
    told = []
    try:
        for limit in (
            0,
            2 * used,
            used * 100 // 85,
            used * 100 // 85,
            used * 100 // 75,
            2 * used,
            2 * used,
            used * 100 // 85,
        ):
            redis_client.config_set("maxmemory", limit)
            caplog.clear()
            alarm.look()
            told.append([r.levelno for r in caplog.records if r.name == memory.__name__])
    finally:
        redis_client.config_set("maxmemory", 0)
    # no limit, half, 85 %, still 85 %, 75 % is not yet calm, half is, still half, 85 % again
    assert told == [[], [], [logging.ERROR], [], [], [logging.WARNING], [], [logging.ERROR]]


def test_it_looks_now_and_then_only(redis_client: redis.Redis) -> None:
    alarm = memory.Alarm(redis_client)
    before: Any = redis_client.info("commandstats")
    for _ in range(100):
        alarm.look()
    after: Any = redis_client.info("commandstats")
    asked = [stats["cmdstat_info"]["calls"] for stats in (after, before)]
    assert asked[0] - asked[1] <= 2  # one of them the test's own
