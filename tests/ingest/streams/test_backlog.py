"""What waits, and what was counted."""

from __future__ import annotations

import redis

from ingest.streams import keys, read
from ingest.streams.backlog import Backlog, backlog, counters, streams


def test_nothing_waits_in_an_empty_redis(redis_client: redis.Redis) -> None:
    assert backlog(redis_client, 2) == Backlog(0, 0, 0, 0)
    assert counters(redis_client, 2) == {}


def test_every_stream_counts_what_is_not_done(redis_client: redis.Redis) -> None:
    read.join_group(redis_client, [keys.SOCIAL, keys.events(1)])
    for stream, n in (
        ("order_book", 1),
        ("market_data", 2),
        (keys.SOCIAL, 5),
        (keys.events(0), 3),
        (keys.events(1), 4),
    ):
        for _ in range(n):
            redis_client.xadd(stream, {"n": n})
    redis_client.xadd(keys.outbox(1), {"rows": b""})
    posts = read.new_entries(redis_client, [keys.SOCIAL], 3, 1)
    redis_client.xack(keys.SOCIAL, keys.GROUP, posts[0][1])
    waiting = backlog(redis_client, 2)
    assert waiting == Backlog(plain=3, posts=4, events=7, outbox=1)
    assert waiting.total == 15
    by_name = {(s.name, s.partition): s for s in streams(redis_client, 2)}
    social = by_name[keys.SOCIAL, None]
    assert (social.length, social.lag, social.pending) == (5, 2, 2)
    assert social.oldest_ms == read.id_numbers(posts[1][1])[0]


def test_a_lag_that_the_server_does_not_know_is_at_most_what_is_held(redis_client: redis.Redis) -> None:
    ids = [redis_client.xadd(keys.events(0), {"n": n}) for n in range(6)]
    read.join_group(redis_client, [keys.events(0)])
    redis_client.xgroup_setid(keys.events(0), keys.GROUP, ids[1])  # the number of entries read is not known
    redis_client.xdel(keys.events(0), ids[3])
    assert redis_client.xinfo_groups(keys.events(0))[0]["lag"] is None
    assert backlog(redis_client, 1).events == 5
    redis_client.xgroup_setid(keys.events(0), keys.GROUP, ids[5])
    assert backlog(redis_client, 1).events == 0


def test_counters_are_added_up_over_partitions_and_the_edge_without_names(redis_client: redis.Redis) -> None:
    redis_client.hset(keys.counters(0), mapping={"accepted.book": 3, "refused.late": 1})
    redis_client.hset(keys.counters(1), mapping={"accepted.book": 4, "accepted.trade": -1})
    redis_client.hset(keys.counters(keys.EDGE), mapping={"refused.late": 2, "scorer.model": "1@2"})
    assert counters(redis_client, 2) == {"accepted.book": 7, "accepted.trade": -1, "refused.late": 3}
