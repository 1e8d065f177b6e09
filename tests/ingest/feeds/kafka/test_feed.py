"""Kafka as a source, on librdkafka's own mock cluster: every record once, in order, whatever dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import Any

import pytest
import redis

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed; it comes with the extra kafka")

from ingest.feeds.kafka import feed as kafka
from ingest.feeds.kafka.feed import OffsetsError
from ingest.feeds.kafka.move import places
from ingest.feeds.kafka.source import Source
from ingest.messages.decode import encode
from ingest.messages.kinds import OrderBook, SocialPost
from ingest.streams import keys
from ingest.streams.move import FROM
from tests.ingest.feeds.kafka.cluster import (
    PARTITIONS,
    QUICK,
    SYMBOLS,
    T0,
    Cluster,
    Feed,
    only_trades,
    trade,
    trades,
    until,
    waiting,
)  # fmt: skip

FIRST = "kafka:{kafka}"


def marker(name: str, place: int | str = 0) -> str:
    return keys.moved(place, f"kafka:{name}")


def set_back(client: redis.Redis, name: str, offset: int) -> None:
    for place in places(PARTITIONS):
        client.set(marker(name, place), f"{offset}-0")


def test_every_topic_reaches_its_stream_byte_for_byte_under_any_name(
    cluster: Cluster, redis_client: redis.Redis
) -> None:
    book = OrderBook(T0, "BTCUSDT", [(100.0, 1.0)], [(101.0, 2.0)])
    as_json = b'{"timestamp": 1700000000000, "symbol": "ETHUSDT", "price": "3.5", "size": 1, "side": null}'
    post = encode(SocialPost(T0, "p1", "$BTC up", "x"))
    cluster.send("books.v1", encode(book))
    cluster.send("market_data", as_json)
    cluster.send("social_data", post)
    cluster.flush()
    topics = {"books.v1": "order_book", "market_data": "market_data", "social_data": "social_data"}
    with Feed(redis_client, Source(cluster.address, topics)) as feed:
        until(lambda: waiting(redis_client) == 2 and redis_client.xlen(keys.SOCIAL) == 1)
    entries = {
        symbol: redis_client.xrange(keys.events(keys.partition_of(symbol, 2))) for symbol in ("BTCUSDT", "ETHUSDT")
    }
    assert {b"kind": b"book", b"data": encode(book)} in [fields for _, fields in entries["BTCUSDT"]]
    assert {b"kind": b"trade", b"data": as_json} in [fields for _, fields in entries["ETHUSDT"]]
    [(_, entry)] = redis_client.xrange(keys.SOCIAL)
    assert re.fullmatch(rb"kafka:social_data/\d/1-0/0", entry.pop(FROM))
    assert entry == {b"data": post}
    assert feed.counts is not None
    assert feed.counts.published == {"book": 1, "trade": 1, "social": 1}
    names = [name.decode() for name in redis_client.hkeys(FIRST) if name != b"cluster"]
    for place in places(PARTITIONS):
        found = redis_client.mget([marker(name, place) for name in names])
        assert sum(int(offset.removesuffix(b"-0")) for offset in found) == 3
    assert redis_client.keys("own:*") + redis_client.keys("members:*") == []


def test_a_refused_record_is_kept_with_its_topic_partition_and_offset(
    cluster: Cluster, redis_client: redis.Redis
) -> None:
    cluster.send("market_data", trade(1), partition=3)
    bad = [b"\x00garbage", b'{"symbol": "A B"}', b'{"timestamp": 1}', None]
    for value in bad:
        cluster.send("market_data", value, partition=3, key="k", headers={"price": b"1"})
    cluster.send("market_data", trade(2), partition=3)
    cluster.flush()
    with Feed(redis_client, only_trades(cluster.address)) as feed:
        until(lambda: waiting(redis_client) == 2 and redis_client.xlen(keys.DEAD_LETTER) == 4)
    letters = [fields for _, fields in redis_client.xrange(keys.DEAD_LETTER)]
    assert [fields[b"reason"] for fields in letters] == [
        b"undecodable", b"bad_symbol", b"missing_field", b"undecodable"
    ]  # fmt: skip
    assert [(fields[b"source"], fields[b"id"]) for fields in letters] == [
        (b"kafka:market_data/3", b"%d" % offset) for offset in (1, 2, 3, 4)
    ]
    assert [fields.get(b"field:data") for fields in letters] == bad
    assert {fields[b"field:key"] for fields in letters} == {b"k"}
    assert feed.counts is not None
    assert feed.counts.refused == {"undecodable": 2, "bad_symbol": 1, "missing_field": 1}
    assert redis_client.hgetall(keys.counters(keys.EDGE)) == {
        b"refused.undecodable": b"2", b"refused.bad_symbol": b"1", b"refused.missing_field": b"1"
    }  # fmt: skip


def test_a_killed_feed_is_followed_by_one_that_goes_on_without_loss_or_repeat(
    cluster: Cluster, redis_client: redis.Redis, redis_url: str
) -> None:
    for n in range(30_000):
        cluster.send("market_data", trade(n, SYMBOLS[n % 6]), key=SYMBOLS[n % 6])
        if n % 10_000 == 0:
            cluster.flush()
    cluster.flush()
    command = [sys.executable, "-m", "ingest", "feed", "kafka", "market_data", "--brokers", cluster.address]
    environ = {**os.environ, "TFS_REDIS_URL": redis_url, "TFS_PARTITIONS": str(PARTITIONS)}
    killed_at = []
    for _ in range(2):
        before = waiting(redis_client)
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
        until(lambda before=before: waiting(redis_client) > before)  # type: ignore[misc]
        process.kill()
        process.wait()
        killed_at.append(waiting(redis_client))
    assert killed_at[0] < 30_000, "it was done before it was killed"
    with Feed(redis_client, only_trades(cluster.address)):
        until(lambda: waiting(redis_client) >= 30_000)
    found = trades(redis_client)
    assert sorted(found) == list(range(30_000))
    for i in range(6):  # records of one key keep their order
        own = [n for n in found if n % 6 == i]
        assert own == sorted(own)


def test_the_command_stops_in_order_and_prints_its_counts(
    cluster: Cluster, redis_client: redis.Redis, redis_url: str
) -> None:
    cluster.send("market_data", trade(7))
    cluster.send("market_data", b"?")
    cluster.flush()
    command = [sys.executable, "-m", "ingest", "feed", "kafka", "--brokers", cluster.address, "--json"]
    environ = {**os.environ, "TFS_REDIS_URL": redis_url, "TFS_PARTITIONS": str(PARTITIONS)}
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE)
    until(lambda: waiting(redis_client) == 1 and redis_client.xlen(keys.DEAD_LETTER) == 1)
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    counts = json.loads(out)
    assert (counts["published"], counts["refused"]) == ({"trade": 1}, {"undecodable": 1})


class Flaky:
    """A client whose scripts run and whose answers are lost, now and then."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.losses = 0

    def pipeline(self, **options: Any) -> Any:
        pipe = self._client.pipeline(**options)
        execute = pipe.execute

        def lose(**options: Any) -> Any:
            is_move = any("BEHIND" in str(words[1]) for words, _ in pipe.command_stack if words[0] == "EVAL")
            replies = execute(**options)
            if is_move and self.losses < 3:
                self.losses += 1
                raise redis.ConnectionError("the answer was lost")
            return replies

        pipe.execute = lose
        return pipe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_a_move_whose_answer_is_lost_is_not_made_twice(
    one_server: None, cluster: Cluster, redis_client: redis.Redis
) -> None:
    for n in range(5000):
        cluster.send("market_data", trade(n), partition=0)
    cluster.flush()
    flaky: Any = Flaky(redis_client)
    with Feed(flaky, only_trades(cluster.address)):
        until(lambda: waiting(redis_client) >= 5000)
    assert flaky.losses == 3
    assert trades(redis_client) == list(range(5000))


def test_a_broker_that_freezes_is_waited_for(
    cluster: Cluster, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(10):
        cluster.send("market_data", trade(n), partition=0)
    cluster.flush()
    with Feed(redis_client, only_trades(cluster.address)):
        until(lambda: waiting(redis_client) == 10)
        caplog.clear()
        cluster.process.send_signal(signal.SIGSTOP)
        until(lambda: "Kafka does not answer and is asked again" in caplog.text)
        cluster.process.send_signal(signal.SIGCONT)
        for n in range(10, 20):
            cluster.send("market_data", trade(n), partition=0)
        cluster.flush()
        until(lambda: waiting(redis_client) >= 20)
    assert trades(redis_client) == list(range(20))


def test_brokers_that_are_away_are_asked_again_and_told_of_once(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "ASK_S", 0.2)
    with Feed(redis_client, only_trades("127.0.0.1:1")) as feed:
        until(lambda: "the Kafka feed cannot go on and tries again until it can" in caplog.text)
        assert feed.error is None
    told = [r for r in caplog.records if r.name == "ingest.streams.outage"]
    assert len(told) == 1
    assert feed.counts is not None


@pytest.mark.parametrize("more", [0, 1])
def test_offsets_that_went_back_with_a_restored_redis_bring_the_records_again(
    cluster: Cluster, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    """Also where no record comes that would meet the other offsets."""
    monkeypatch.setattr(kafka, "LOOK_S", 0.2)
    for n in range(100):
        cluster.send("market_data", trade(n), partition=0)
    cluster.flush()
    with Feed(redis_client, only_trades(cluster.address)):
        until(lambda: waiting(redis_client) == 100)
        with redis_client.pipeline(transaction=True) as pipe:  # as a Redis that lost its last seconds
            newest = redis_client.xrevrange(keys.events(keys.partition_of("S0", 2)), count=40)
            pipe.xdel(keys.events(keys.partition_of("S0", 2)), *(entry_id for entry_id, _ in newest))
            pipe.set(marker("market_data/0", keys.partition_of("S0", 2)), "60-0")
            pipe.execute()
        if more:
            cluster.send("market_data", trade(100), partition=0)
            cluster.flush()
        until(lambda: waiting(redis_client) >= 100 + more)
    assert trades(redis_client) == list(range(100 + more))


def test_a_second_feed_stands_by_until_the_first_leaves(cluster: Cluster, redis_client: redis.Redis) -> None:
    source = only_trades(cluster.address)
    cluster.producer.list_topics("market_data", timeout=5)  # makes it
    with Feed(redis_client, source) as first:
        until(lambda: redis_client.exists(keys.owner("kafka")) == 1)
        owner = redis_client.get(keys.owner("kafka"))
        with Feed(redis_client, source):
            until(lambda: redis_client.zcard(keys.members("kafka")) == 2)
            cluster.send("market_data", trade(0))
            cluster.flush()
            until(lambda: waiting(redis_client) == 1)
            assert redis_client.get(keys.owner("kafka")) == owner
            first.stop.set()
            until(lambda: redis_client.get(keys.owner("kafka")) not in (None, owner))
            cluster.send("market_data", trade(1))
            cluster.flush()
            until(lambda: waiting(redis_client) >= 2)
    assert sorted(trades(redis_client)) == [0, 1]


def test_from_the_end_takes_only_what_comes_afterwards_and_a_topic_may_come_later(
    cluster: Cluster, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "LOOK_S", 0.1)
    cluster.send("market_data", trade(0), partition=0)
    cluster.flush()
    topics = {"market_data": "market_data", "later": "market_data"}
    with Feed(redis_client, Source(cluster.address, topics, from_end=True, options=QUICK)):
        until(lambda: redis_client.hexists(FIRST, "market_data/3"))  # all are noted, oldest first
        until(lambda: redis_client.get(marker("market_data/0", keys.EDGE)) == b"1-0")
        cluster.send("market_data", trade(1), partition=0)
        cluster.flush()
        until(lambda: waiting(redis_client) == 1)
        assert trades(redis_client) == [1]
        cluster.producer.list_topics("later", timeout=5)
        cluster.send("later", trade(2), partition=0)
        cluster.flush()
        until(lambda: redis_client.exists(marker("later/0", keys.EDGE)))
        cluster.send("later", trade(3), partition=0)
        cluster.flush()
        until(lambda: 3 in trades(redis_client))
    assert trades(redis_client)[-1] == 3


def test_offsets_of_another_cluster_or_past_the_end_are_an_error_that_tells_what_to_do(
    cluster: Cluster, redis_client: redis.Redis
) -> None:
    cluster.send("market_data", trade(0), partition=0)
    cluster.flush()
    set_back(redis_client, "market_data/0", 5)
    with (
        pytest.raises(
            OffsetsError,
            match="market_data/0 ends at 1 and was read up to 5: the topic was made anew; leave it out here",
        ),
        Feed(redis_client, only_trades(cluster.address)) as feed,
    ):
        until(lambda: feed.error is not None)
    redis_client.hset(FIRST, "cluster", "another")
    with (
        pytest.raises(OffsetsError, match="of another Kafka cluster; give this one another name"),
        Feed(redis_client, only_trades(cluster.address)) as feed,
    ):
        until(lambda: feed.error is not None)


def test_records_that_kafka_deleted_before_they_were_read_are_told_of(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    class About:
        cluster_id = "c"

    class Shortened:
        def list_topics(self, timeout: float) -> About:
            return About()

        def get_watermark_offsets(self, place: Any, timeout: float) -> tuple[int, int]:
            return 40, 90

    redis_client.hset(FIRST, "market_data/0", 10)  # as the release before kept it
    place = ("market_data", 0)
    at, first = kafka._begin(redis_client, Shortened(), only_trades("unused:1"), PARTITIONS, [place])
    assert (at, first) == ({place: 10}, {place: 40})
    assert "30 records of market_data/0 were deleted by Kafka before they were read" in caplog.text
