"""Letters: how one is made, and how they are read."""

from __future__ import annotations

from msgspec import msgpack

from ingest.streams import dead_letters, keys
from ingest.streams.dead_letters import DETAIL_MAX, FIELDS_MAX, dead_letter, newest, refuse


def test_a_letter_keeps_the_message_whole_and_its_detail_cut() -> None:
    words = dead_letter("market_data", b"7-1", {b"data": b"\xff", b"kind": b"x"}, "late", "d" * 999)
    assert words == [
        "reason", "late", "detail", "d" * DETAIL_MAX, "source", "market_data", "id", b"7-1",
        b"field:data", b"\xff", b"field:kind", b"x",
    ]  # fmt: skip
    fields = {b"%d" % i: b"v" for i in range(FIELDS_MAX + 1)}
    assert msgpack.decode(dead_letter("s", b"1-0", fields, "late", "")[-1]) == [list(pair) for pair in fields.items()]


def test_a_refusal_is_counted_at_the_edge_and_may_wait_in_a_pipeline(redis_client) -> None:
    with redis_client.pipeline(transaction=False) as pipe:
        refuse(pipe, "a file", {b"data": b"x"}, "undecodable", "why", "12")
        assert redis_client.xlen(keys.DEAD_LETTER) == 0
        pipe.execute()
    [letter] = newest(redis_client, 2)
    assert (letter.reason, letter.source, letter.origin, letter.fields) == (
        "undecodable", b"a file", b"12", ((b"data", b"x"),)
    )  # fmt: skip
    assert redis_client.hgetall(keys.counters(keys.EDGE)) == {b"refused.undecodable": b"1"}


def test_pages_are_read_to_the_end(redis_client):
    for i in range(dead_letters.PAGE + 3):
        refuse(redis_client, "market_data", {b"data": b"%d" % i}, "late", "")
    oldest = [found.fields[0][1] for found in dead_letters.oldest(redis_client, 2)]
    assert oldest == [b"%d" % i for i in range(dead_letters.PAGE + 3)]
    assert [found.fields[0][1] for found in dead_letters.newest(redis_client, 2)] == oldest[::-1]


def test_letters_of_all_places_are_read_in_one_order_and_found_by_their_ids(redis_client):
    for i, place in enumerate((keys.EDGE, 0, 1, keys.EDGE, 1)):
        name = keys.letters(place)
        words = dead_letter("s", b"1-0", {b"data": b"%d" % i}, "late", "")
        redis_client.xadd(name, dict(zip(words[::2], words[1::2], strict=True)), f"{7 + i}-0")
    assert dead_letters.kept(redis_client, 2) == 5
    found = list(dead_letters.oldest(redis_client, 2))
    assert [(one.id, one.fields[0][1]) for one in found] == [
        ("7-0", b"0"), ("8-0@0", b"1"), ("9-0@1", b"2"), ("10-0", b"3"), ("11-0@1", b"4")
    ]  # fmt: skip
    assert list(dead_letters.newest(redis_client, 2, count=3)) == found[:1:-1]
    assert [dead_letters.one(redis_client, one.id) for one in found] == found
    assert dead_letters.one(redis_client, "8-0") is None


def test_a_letter_that_the_release_before_put_back_is_not_put_back_again(redis_client):
    refuse(redis_client, "market_data", {b"data": b"{}"}, "late", "")
    [letter] = newest(redis_client, 2)
    redis_client.hset(dead_letters.RETRIED_BEFORE, letter.id, "market_data 5-0")
    [letter] = newest(redis_client, 2)
    assert dead_letters.retry(redis_client, letter, 2) == (False, "market_data 5-0")
    assert not redis_client.exists("market_data")
