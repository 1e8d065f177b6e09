"""Appending messages, many in one round trip."""

from __future__ import annotations

import redis

from ingest.messages.decode import decode
from ingest.messages.kinds import SocialPost, Trade
from ingest.messages.refusal import Reason
from ingest.publish.publisher import SOURCE_MAX, Publisher
from ingest.recordings.lines import Line, Parsed, Rejected
from ingest.streams import keys

T0 = 1_700_000_000_000


def trade(n: int) -> Trade:
    return Trade(T0 + n, "BTCUSDT", 100.0, 1.0, "buy", n)


def test_messages_wait_for_a_full_batch_or_the_end_of_the_block(redis_client: redis.Redis) -> None:
    log = keys.events(keys.partition_of("BTCUSDT", 2))
    with Publisher(redis_client, 2, batch=3) as publisher:
        for n in range(4):
            publisher.publish("trade", trade(n), recorded=n == 3)
            assert redis_client.xlen(log) == (3 if n >= 2 else 0)
    entries = [fields for _, fields in redis_client.xrange(log)]
    assert [decode(Trade, fields[b"data"]) for fields in entries] == [trade(n) for n in range(4)]
    assert [fields.get(b"recorded") for fields in entries] == [None, None, None, b"1"]
    assert {fields[b"kind"] for fields in entries} == {b"trade"}


def test_posts_go_to_the_scorer_and_refused_lines_to_the_dead_letters(redis_client: redis.Redis) -> None:
    post = SocialPost(T0, "1", "up", "s")
    line = Line("f" * 999, 7, 0, b"what came", False)
    with Publisher(redis_client, 2) as publisher:
        publisher.publish_output(Rejected(line, Reason.UNDECODABLE, "no JSON"))
        publisher.publish_output(Parsed("social", post), recorded=True)
    [(_, entry)] = redis_client.xrange(keys.SOCIAL)
    assert (decode(SocialPost, entry[b"data"]), entry[b"recorded"]) == (post, b"1")
    [(_, letter)] = redis_client.xrange(keys.DEAD_LETTER)
    assert (letter[b"source"], letter[b"id"], letter[b"field:data"]) == (b"f" * SOURCE_MAX, b"7", b"what came")
