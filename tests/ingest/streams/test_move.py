"""The script that appends records behind the markers of their sources, step by step."""

from __future__ import annotations

import pytest
import redis
from redis import exceptions

from ingest.messages.refusal import Reason, Refused
from ingest.streams import keys
from ingest.streams.membership import FencedError, server_id
from ingest.streams.move import (
    Batch,
    Behind,
    Notes,
    Position,
    Record,
    Step,
    append,
    by_place,
    markers,
    partition_of,
    refused,
)

LOG = keys.events(0)
NOTES = keys.last_trades(0, "X")


def moved_fields(client: redis.Redis, stream: str = LOG) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in client.xrange(stream)]  # type: ignore[union-attr]


def logged(client: redis.Redis) -> list[int]:
    return [int(fields[b"n"]) for fields in moved_fields(client)]


def record(n: int, source: str = "market_data", sub: int = 0) -> Record:
    return Record(source, (n, sub), ["n", n])


def at(client: redis.Redis, source: str = "market_data", place: int | str = 0) -> Position | None:
    [position] = markers(client, [place], [source])[place]
    return position


def test_what_lies_behind_the_marker_is_appended_in_its_order_and_each_once(redis_client: redis.Redis) -> None:
    assert append(redis_client, [Batch(0, [record(n) for n in (1, 2)])]) == [2]
    assert append(redis_client, [Batch(0, [record(n) for n in (1, 4, 3, 2)])]) == [2]
    assert append(redis_client, [Batch(0, [record(n) for n in range(6)])]) == [1]
    assert logged(redis_client) == [1, 2, 4, 3, 5]
    assert at(redis_client) == (5, 0)


def test_the_second_number_of_a_position_counts_as_a_number(redis_client: redis.Redis) -> None:
    assert append(redis_client, [Batch(0, [record(1, sub=9)])]) == [1]
    assert append(redis_client, [Batch(0, [record(1, sub=n) for n in (8, 9, 10)])]) == [1]
    assert at(redis_client) == (1, 10)
    largest = (1 << 64) - 1
    assert append(redis_client, [Batch(0, [record(1, sub=largest - 1)])]) == [1]
    assert append(redis_client, [Batch(0, [record(1, sub=largest - 1), record(1, sub=largest)])]) == [1]


def test_each_source_has_a_marker_and_each_place_its_own(redis_client: redis.Redis) -> None:
    batches = [Batch(place, [record(7), record(3, "order_book")]) for place in (0, 1, keys.SOCIAL)]
    assert append(redis_client, batches) == [2, 2, 2]
    assert append(redis_client, batches) == [0, 0, 0]
    found = markers(redis_client, [0, 1, keys.SOCIAL, keys.EDGE], ["order_book", "market_data"])
    assert found == {**{place: [(3, 0), (7, 0)] for place in (0, 1, keys.SOCIAL)}, keys.EDGE: [None, None]}
    assert [redis_client.xlen(keys.stream(place)) for place in (0, 1, keys.SOCIAL)] == [2, 2, 2]


def test_a_refused_record_is_kept_and_counted_by_its_reason_once(redis_client: redis.Redis) -> None:
    one = refused("market_data", b"1-0", {b"data": b"?"}, Refused(Reason.UNDECODABLE, "why"))
    ours = refused("elsewhere", "5", {b"data": b"!"}, ZeroDivisionError("a fault"))
    batch = Batch(keys.EDGE, [Record("market_data", (1, 0), one), Record("elsewhere", (5, 0), ours)])
    assert (append(redis_client, [batch]), append(redis_client, [batch])) == ([2], [0])
    assert [letter[b"detail"] for letter in moved_fields(redis_client, keys.DEAD_LETTER)] == [
        b"why", b"ZeroDivisionError: a fault"
    ]  # fmt: skip
    counted = redis_client.hgetall(keys.counters(keys.EDGE))
    assert counted == {b"refused.undecodable": b"1", b"refused.failed": b"1"}


def test_on_another_redis_than_the_records_were_read_from_nothing_changes(
    one_server: None, redis_client: redis.Redis
) -> None:
    with pytest.raises(FencedError):
        append(redis_client, [Batch(0, [record(1)])], server="0" * 40)
    assert not redis_client.keys()
    assert append(redis_client, [Batch(0, [record(1)])], server=server_id(redis_client)) == [1]


def test_a_place_that_came_back_older_is_given_nothing_and_says_what_it_has(redis_client: redis.Redis) -> None:
    append(redis_client, [Batch(place, [record(4)]) for place in (0, 1)])
    steps = [Step("order_book", (9, 0)), Step("market_data", (8, 0), before=(6, 0))]
    append(redis_client, [Batch(1, [record(6)])])
    notes = Notes(NOTES, {"A": b"newest"})
    batches = [Batch(0, [record(7)], steps, notes), Batch(1, [record(7)], steps)]
    assert append(redis_client, batches) == [Behind((4, 0)), 1]
    assert (at(redis_client), at(redis_client, "order_book"), logged(redis_client)) == ((4, 0), None, [4])
    assert not redis_client.exists(NOTES)
    assert (at(redis_client, place=1), at(redis_client, "order_book", 1)) == ((8, 0), (9, 0))


def test_a_marker_is_never_moved_back_and_expires_only_where_that_is_asked_for(redis_client: redis.Redis) -> None:
    append(redis_client, [Batch(0, [record(7)], [Step("market_data", (2, 0), kept_ms=60_000)])])
    append(redis_client, [Batch(0, [], [Step("market_data", (3, 0)), Step("order_book", (3, 0))])])
    assert (at(redis_client), at(redis_client, "order_book")) == ((7, 0), (3, 0))
    assert 0 < redis_client.pttl(keys.moved(0, "market_data")) <= 60_000
    assert redis_client.pttl(keys.moved(0, "order_book")) == -1


def test_notes_are_those_of_the_newest_batch_also_where_an_older_one_arrives_late(redis_client: redis.Redis) -> None:
    old, new = (Batch(0, [record(n)], notes=Notes(NOTES, {"A": b"%d" % n})) for n in (1, 2))
    for batch in (old, new, old):
        append(redis_client, [batch])
    assert redis_client.hgetall(NOTES) == {b"A": b"2"}


def test_a_full_redis_lets_what_it_holds_move_on_and_refuses_new_input_whole(redis_client: redis.Redis) -> None:
    redis_client.config_set("maxmemory", 1)
    try:
        assert append(redis_client, [Batch(0, [record(1)])]) == [1]
        with pytest.raises(exceptions.OutOfMemoryError):
            append(redis_client, [Batch(0, [record(2)])], is_new=True)
    finally:
        redis_client.config_set("maxmemory", 0)
    assert at(redis_client) == (1, 0)
    assert logged(redis_client) == [1]


def test_records_are_gathered_by_place_in_their_order() -> None:
    records = [(place, record(n)) for n, place in enumerate((0, keys.EDGE, 0, 1))]
    assert by_place(records) == {0: [record(0), record(2)], keys.EDGE: [record(1)], 1: [record(3)]}


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
        partition_of(fields, 4)
    assert caught.value.reason == reason


def test_only_the_symbol_of_a_message_is_decoded() -> None:
    assert partition_of({b"data": b'{"symbol": "BTCUSDT", "price": []}'}, 4) == 3
