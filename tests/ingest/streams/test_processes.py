"""Which processes are alive."""

from __future__ import annotations

import redis

from ingest.streams import keys, read
from ingest.streams.membership import LEASE_MS, Member
from ingest.streams.processes import count_alive, silent_ms


def test_processes_of_every_role_are_counted_until_they_are_silent_for_a_lease(redis_client: redis.Redis) -> None:
    assert count_alive(silent_ms(redis_client)) == {"worker": 0, "router": 0, "writer": 0, "scorer": 0}
    for _ in range(2):
        Member(redis_client, "worker", [0]).beat()
    Member(redis_client, "router", ["router"]).beat()
    read.join_group(redis_client, [keys.SOCIAL])
    read.new_entries(redis_client, [keys.SOCIAL], 1, 1)
    assert count_alive(silent_ms(redis_client)) == {"worker": 2, "router": 1, "writer": 0, "scorer": 1}
    [(name, at_ms), _] = redis_client.zrange(keys.members("worker"), 0, -1, withscores=True)
    redis_client.zadd(keys.members("worker"), {name: at_ms - LEASE_MS - 1000})
    silent = silent_ms(redis_client, ["worker"])
    assert silent["worker"][name.decode()] > LEASE_MS
    assert count_alive(silent) == {"worker": 1}
