"""The move of records and offsets, all or nothing."""

from __future__ import annotations

import pytest
import redis

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed; it comes with the extra kafka")

from ingest.feeds.kafka.move import move
from ingest.publish.counts import Counts
from ingest.streams.membership import FencedError, Member
from ingest.streams.move import OffsetsChangedError
from tests.ingest.feeds.kafka.cluster import PARTITIONS, Record, only_trades, trade, trades, waiting

OFFSETS = "kafka:{kafka}"


def test_a_move_without_the_seat_or_from_other_offsets_changes_nothing(redis_client: redis.Redis) -> None:
    member = Member(redis_client, "kafka", ["kafka"])
    token = member.hold_seat()
    assert token is not None
    source = only_trades("unused:1")
    redis_client.hset(OFFSETS, "market_data/0", 0)
    batch = [Record("market_data", 0, n, n, trade(n)) for n in range(3)]
    with pytest.raises(FencedError):
        move(redis_client, source, PARTITIONS, batch, {("market_data", 0): 0}, "1:another", Counts())
    with pytest.raises(OffsetsChangedError):
        move(redis_client, source, PARTITIONS, batch, {("market_data", 0): 1}, token, Counts())
    assert waiting(redis_client) == 0
    at = {("market_data", 0): 0}
    counts = Counts()
    move(redis_client, source, PARTITIONS, batch, at, token, counts)
    assert counts.published == {"trade": 3}
    assert at == {("market_data", 0): 3}
    with pytest.raises(OffsetsChangedError):
        move(redis_client, source, PARTITIONS, batch, {("market_data", 0): 0}, token, Counts())
    assert trades(redis_client) == [0, 1, 2]


def test_a_move_finds_that_the_offset_of_another_place_went_back(redis_client: redis.Redis) -> None:
    """The records that were lost with it are older, and must be read again first."""
    token = Member(redis_client, "kafka", ["kafka"]).hold_seat()
    assert token is not None
    redis_client.hset(OFFSETS, mapping={"market_data/0": 0, "market_data/1": 7})
    batch = [Record("market_data", 0, 0, 0, trade(0))]
    at = {("market_data", 0): 0, ("market_data", 1): 9}
    with pytest.raises(OffsetsChangedError):
        move(redis_client, only_trades("unused:1"), PARTITIONS, batch, at, token, Counts())
    assert waiting(redis_client) == 0
    move(redis_client, only_trades("unused:1"), PARTITIONS, batch, at | {("market_data", 1): 7}, token, Counts())
    assert redis_client.hgetall(OFFSETS) == {b"market_data/0": b"1", b"market_data/1": b"7"}
    assert trades(redis_client) == [0]


def test_a_full_redis_refuses_a_move_whole(redis_client: redis.Redis) -> None:
    token = Member(redis_client, "kafka", ["kafka"]).hold_seat()
    assert token is not None
    redis_client.hset(OFFSETS, "market_data/0", 0)
    batch = [Record("market_data", 0, 0, 0, trade(0))]
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            move(redis_client, only_trades("unused:1"), PARTITIONS, batch, {("market_data", 0): 0}, token, Counts())
    finally:
        redis_client.config_set("maxmemory", 0)
    assert redis_client.hget(OFFSETS, "market_data/0") == b"0"
    assert waiting(redis_client) == 0
