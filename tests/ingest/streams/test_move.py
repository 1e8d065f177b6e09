"""The script that moves records, step by step."""

from __future__ import annotations

import pytest
import redis
from redis import exceptions

from ingest.messages.refusal import Reason, Refused
from ingest.streams import keys, read
from ingest.streams.membership import FencedError, Member
from ingest.streams.move import Offsets, OffsetsChangedError, Record, log_of, move_records, refused

LOG = keys.events(0)


def moved_fields(client: redis.Redis, stream: str = LOG) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in client.xrange(stream)]  # type: ignore[union-attr]


def record(client: redis.Redis, n: int, *targets: str) -> Record:
    entry_id = client.xadd("market_data", {"n": n})
    return Record([(target, ["n", n]) for target in targets or (LOG,)], "market_data", entry_id)  # type: ignore[arg-type]


def test_records_are_moved_in_their_order_and_each_once(redis_client: redis.Redis) -> None:
    records = [record(redis_client, n) for n in range(5)]
    assert move_records(redis_client, records[1:3]) == 2
    assert move_records(redis_client, records) == 3
    assert [fields[b"n"] for fields in moved_fields(redis_client)] == [b"1", b"2", b"0", b"3", b"4"]
    assert redis_client.xlen("market_data") == 0


def test_a_record_may_enter_several_streams(redis_client: redis.Redis) -> None:
    one = record(redis_client, 7, LOG, keys.events(1), LOG)
    assert (move_records(redis_client, [one]), move_records(redis_client, [one])) == (1, 0)
    assert [len(moved_fields(redis_client, keys.events(p))) for p in range(2)] == [2, 1]


def test_a_refused_record_is_kept_and_counted_by_its_reason_once(redis_client: redis.Redis) -> None:
    entry_id = redis_client.xadd("market_data", {"data": b"?"})
    one = refused("market_data", entry_id, {b"data": b"?"}, Refused(Reason.UNDECODABLE, "why"))  # type: ignore[arg-type]
    ours = refused("elsewhere", "5", {b"data": b"!"}, ZeroDivisionError("a fault"), delete=False)
    assert (one.reason, ours.reason) == ("undecodable", "failed")
    assert (move_records(redis_client, [one, ours]), move_records(redis_client, [one])) == (2, 0)
    assert [letter[b"detail"] for letter in moved_fields(redis_client, keys.DEAD_LETTER)] == [
        b"why", b"ZeroDivisionError: a fault"
    ]  # fmt: skip
    counted = redis_client.hgetall(keys.counters(keys.EDGE))
    assert counted == {b"refused.undecodable": b"1", b"refused.failed": b"1"}


def test_without_the_seats_token_nothing_changes(redis_client: redis.Redis) -> None:
    token = Member(redis_client, "router", ["router"]).hold_seat()
    assert token is not None
    one = record(redis_client, 1)
    with pytest.raises(FencedError):
        move_records(redis_client, [one], seat="router", token="0:another", facts={"n": 1})
    assert (redis_client.xlen(LOG), redis_client.xlen("market_data")) == (0, 1)
    assert not redis_client.exists(keys.counters(keys.EDGE))
    assert move_records(redis_client, [one], seat="router", token=token) == 1


def test_offsets_are_checked_and_moved_with_the_records(redis_client: redis.Redis) -> None:
    token = Member(redis_client, "kafka", ["kafka"]).hold_seat() or ""
    redis_client.hset("offsets", mapping={"a/0": 3, "b/0": 5})
    one = Record([(LOG, ["n", 1])])

    def move(a: int, b: int) -> int:
        steps = Offsets("offsets", [("a/0", a, a + 1), ("b/0", b, b + 2)])
        return move_records(redis_client, [one], seat="kafka", token=token, offsets=steps)

    with pytest.raises(OffsetsChangedError, match="offsets"):
        move(3, 6)
    assert redis_client.hgetall("offsets") == {b"a/0": b"3", b"b/0": b"5"}
    assert move(3, 5) == 1
    with pytest.raises(OffsetsChangedError):
        move(3, 5)
    assert redis_client.hgetall("offsets") == {b"a/0": b"4", b"b/0": b"7"}
    assert len(moved_fields(redis_client)) == 1


def test_entries_are_acknowledged_also_where_they_are_gone_and_facts_are_added_or_stored(
    redis_client: redis.Redis,
) -> None:
    read.join_group(redis_client, ["market_data"])
    records = [record(redis_client, n) for n in range(2)]
    assert len(read.new_entries(redis_client, ["market_data"], 10, 1)) == 2
    redis_client.xdel("market_data", records[0].entry_id)
    for _ in range(2):
        move_records(redis_client, records, acknowledge=True, facts={"scorer.texts": 3, "scorer.model": "words@1"})
    assert redis_client.xpending("market_data", keys.GROUP)["pending"] == 0
    counted = redis_client.hgetall(keys.counters(keys.EDGE))
    assert counted == {b"scorer.texts": b"6", b"scorer.model": b"words@1"}


def test_a_full_redis_lets_deleting_moves_through_and_refuses_new_input_whole(redis_client: redis.Redis) -> None:
    token = Member(redis_client, "kafka", ["kafka"]).hold_seat() or ""
    redis_client.hset("offsets", "a/0", 0)
    one = record(redis_client, 1)
    redis_client.config_set("maxmemory", 1)
    try:
        assert move_records(redis_client, [one], facts={"scorer.texts": 1}) == 1
        with pytest.raises(exceptions.OutOfMemoryError):
            step = Offsets("offsets", [("a/0", 0, 1)])
            move_records(redis_client, [Record([(LOG, ["n", 2])])], seat="kafka", token=token, offsets=step)
    finally:
        redis_client.config_set("maxmemory", 0)
    assert redis_client.hget("offsets", "a/0") == b"0"
    assert [fields[b"n"] for fields in moved_fields(redis_client)] == [b"1"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({b"data": b"?"}, Reason.UNDECODABLE),
        ({b"data": b"{}"}, Reason.MISSING_FIELD),
        ({b"data": b'{"symbol": "A B"}'}, Reason.BAD_SYMBOL),
        ({b"%d" % i: b"" for i in range(17)}, Reason.WRONG_TYPE),
    ],
)
def test_a_message_without_a_symbol_has_no_log(fields: dict[bytes, bytes], reason: Reason) -> None:
    with pytest.raises(Refused) as caught:
        log_of(fields, 4)
    assert caught.value.reason == reason


def test_only_the_symbol_of_a_message_is_decoded() -> None:
    assert log_of({b"data": b'{"symbol": "BTCUSDT", "price": []}'}, 4) == keys.events(3)
