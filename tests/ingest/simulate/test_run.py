"""The simulated market in the streams of a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from ingest.cli import main
from ingest.messages.decode import decode
from ingest.messages.kinds import KIND
from ingest.publish.readers import NotReadError
from ingest.settings import Settings
from ingest.simulate import history, simulate
from ingest.simulate.history import MARKET
from ingest.streams import keys
from ingest.worker.partition import Partition

T0 = 1_754_611_215_000
"""The middle of a slot of posts: there is none for the next 15 seconds."""
SETTINGS = Settings(partitions=1)


class Clock:
    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def entries(client: redis.Redis) -> list[tuple[str, Any, bool]]:
    found: Any = client.xrange(keys.events(0))
    return [(e[b"kind"].decode(), decode(KIND[e[b"kind"].decode()], e[b"data"]), b"recorded" in e) for _, e in found]


def test_history_is_recorded_and_a_tick_ends_it(redis_client: redis.Redis) -> None:
    clock = Clock(T0 / 1000 + 10.4)
    counts = simulate(redis_client, SETTINGS, symbols=["SIM-ETH"], history_ms=10_000, clock=clock, patience_s=1)

    *market, tick = entries(redis_client)
    assert [(k, m) for k, m, _ in market] == list(history(T0, T0 + 10_000, symbols=["SIM-ETH"], kinds=MARKET))
    assert all(recorded for _, _, recorded in market)
    assert (tick[0], tick[1].timestamp) == ("tick", T0 + 10_000)
    assert counts.published["book"] == 20


def test_the_live_part_begins_where_the_history_ends_and_is_not_recorded(redis_client: redis.Redis) -> None:
    clock = Clock(T0 / 1000 + 5)
    span = {"history_ms": 5000, "seconds": 5, "patience_s": 1, "seed": 3}
    simulate(redis_client, SETTINGS, symbols=["SIM-ETH"], clock=clock, sleep=clock.sleep, **span)
    got = entries(redis_client)
    market = [(k, m) for k, m, _ in got if k != "clock"]
    assert market == list(history(T0, T0 + 10_000, symbols=["SIM-ETH"], kinds=MARKET, seed=3))
    assert all(recorded == (m.timestamp < T0 + 5000) for _, m, recorded in got)
    assert clock.now_s < T0 / 1000 + 10.5


def test_a_second_run_goes_on_where_the_first_stopped_and_says_that_it_was_away(redis_client: redis.Redis) -> None:
    span = {"symbols": ["SIM-ETH"], "patience_s": 1}
    simulate(redis_client, SETTINGS, history_ms=10_000, clock=Clock(T0 / 1000 + 10), **span)
    partition = Partition(0, SETTINGS)
    for entry_id, fields in redis_client.xrange(keys.events(0)):
        partition.process(entry_id, fields, 0)
    redis_client.hset(keys.checkpoint(0), mapping=partition.save())
    first = redis_client.xlen(keys.events(0))

    simulate(redis_client, SETTINGS, history_ms=13_000, clock=Clock(T0 / 1000 + 13), **span)
    (*gaps,) = entries(redis_client)[first : first + 2]
    *market, _ = entries(redis_client)[first + 2 :]
    after = T0 + 10_001  # the tick at the first run's end spoke for all up to and with its own millisecond
    assert [(gap[0], gap[1].channel, gap[1].timestamp) for gap in gaps] == [
        ("gap", "book", after),
        ("gap", "liquidation", after),
    ]
    assert [(k, m) for k, m, _ in market] == list(history(after, T0 + 13_000, symbols=["SIM-ETH"], kinds=MARKET))


def test_live_posts_go_to_the_scorer_unrecorded(redis_client: redis.Redis) -> None:
    clock = Clock(T0 / 1000)
    counts = simulate(redis_client, SETTINGS, symbols=["SIM-ETH"], seconds=60, clock=clock, sleep=clock.sleep)
    posts: Any = redis_client.xrange(keys.SOCIAL)
    assert len(posts) == counts.published["social"] == 2
    assert all(b"recorded" not in fields for _, fields in posts)


def test_without_a_scorer_the_history_says_so(redis_client: redis.Redis) -> None:
    with pytest.raises(NotReadError, match="No scorer reads the posts"):
        simulate(redis_client, SETTINGS, history_ms=60_000, clock=Clock(T0 / 1000), patience_s=0.05)


def test_the_command_prints_its_counts(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    assert main(["simulate", "--seconds", "1", "--symbols", "X,Y", "--seed", "7", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["symbols"] == ["X", "Y"]
    assert counts["published"]["book"] == 4


def test_the_command_refuses_a_symbol_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["simulate", "--symbols", "A,B C"])
    assert "letters, digits" in capsys.readouterr().err
