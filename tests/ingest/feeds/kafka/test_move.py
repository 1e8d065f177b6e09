"""The move of records and offsets: at each place all or nothing."""

from __future__ import annotations

import pytest
import redis

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed; it comes with the extra kafka")

from ingest.feeds.kafka.move import OffsetsChangedError, begin_at, move, offsets, places
from ingest.publish.counts import Counts
from ingest.streams import keys
from tests.ingest.feeds.kafka.cluster import PARTITIONS, Record, only_trades, trade, trades, waiting

SOURCE = only_trades("unused:1")
ONE, OTHER = ("market_data", 0), ("market_data", 1)


def kept(client: redis.Redis) -> dict[tuple[str, int], set[int | None]]:
    return {topic: set(of) for topic, of in offsets(client, SOURCE, PARTITIONS, [ONE, OTHER]).items()}


def test_each_record_is_moved_once_and_every_place_has_the_offset_behind_it(redis_client: redis.Redis) -> None:
    batch = [Record("market_data", 0, n, n, trade(n)) for n in range(3)]
    begin_at(redis_client, SOURCE, PARTITIONS, {ONE: 0})
    at, counts = {ONE: 0}, Counts()
    move(redis_client, SOURCE, PARTITIONS, batch, at, counts)
    assert (counts.published, at) == ({"trade": 3}, {ONE: 3})
    more = [*batch, Record("market_data", 0, 3, 3, trade(3))]
    move(redis_client, SOURCE, PARTITIONS, more, {ONE: 0}, Counts())  # by a process that was frozen, or read them again
    assert trades(redis_client) == [0, 1, 2, 3]
    assert kept(redis_client) == {ONE: {4}, OTHER: {None}}
    begin_at(redis_client, SOURCE, PARTITIONS, {ONE: 0, OTHER: 7})
    assert kept(redis_client) == {ONE: {4}, OTHER: {7}}


def test_a_move_finds_that_the_offset_of_another_topic_went_back(redis_client: redis.Redis) -> None:
    """The records that were lost with it are older, and must be read again first."""
    begin_at(redis_client, SOURCE, PARTITIONS, {ONE: 0, OTHER: 7})
    batch = [Record("market_data", 0, 0, 0, trade(0))]
    with pytest.raises(OffsetsChangedError):
        move(redis_client, SOURCE, PARTITIONS, batch, {ONE: 0, OTHER: 9}, Counts())
    assert waiting(redis_client) == 0
    move(redis_client, SOURCE, PARTITIONS, batch, {ONE: 0, OTHER: 7}, Counts())
    assert kept(redis_client) == {ONE: {1}, OTHER: {7}}
    assert trades(redis_client) == [0]


@pytest.mark.parametrize("place", places(PARTITIONS))
def test_what_one_place_has_lost_is_moved_there_again_and_nowhere_else(
    redis_client: redis.Redis, place: int | str
) -> None:
    begin_at(redis_client, SOURCE, PARTITIONS, {ONE: 0})
    values = [trade(0, "S0"), trade(1, "S1"), b"?", trade(2, "S0"), trade(3, "S1"), b"!"]
    batch = [Record("market_data", 0, n, n, value) for n, value in enumerate(values)]
    at = {ONE: 0}
    move(redis_client, SOURCE, PARTITIONS, batch[:3], at, Counts())
    before = {
        key: redis_client.dump(key) for key in [*redis_client.keys(f"*{{{place}}}*"), keys.stream(place).encode()]
    }
    move(redis_client, SOURCE, PARTITIONS, batch[3:], at, Counts())
    for key, value in before.items():
        redis_client.delete(key)
        if value is not None:
            redis_client.restore(key, 0, value)  # type: ignore[arg-type]
    with pytest.raises(OffsetsChangedError):
        move(redis_client, SOURCE, PARTITIONS, [], at, Counts())
    found = min(offset for offset in offsets(redis_client, SOURCE, PARTITIONS, [ONE])[ONE] if offset is not None)
    assert found == 3
    move(redis_client, SOURCE, PARTITIONS, batch[found:], {ONE: found}, Counts())
    assert sorted(trades(redis_client)) == [0, 1, 2, 3]
    assert redis_client.xlen(keys.DEAD_LETTER) == 2
    assert redis_client.hgetall(keys.counters(keys.EDGE)) == {b"refused.undecodable": b"2"}


def test_a_full_redis_refuses_a_move_whole(redis_client: redis.Redis) -> None:
    begin_at(redis_client, SOURCE, PARTITIONS, {ONE: 0})
    batch = [Record("market_data", 0, 0, 0, trade(0))]
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            move(redis_client, SOURCE, PARTITIONS, batch, {ONE: 0}, Counts())
    finally:
        redis_client.config_set("maxmemory", 0)
    assert kept(redis_client)[ONE] == {0}
    assert waiting(redis_client) == 0
