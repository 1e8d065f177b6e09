"""The producer of the chaos on a cluster: what it was acknowledged and is gone is counted."""

from __future__ import annotations

import time
from collections import defaultdict

import redis

from ingest.streams import keys
from tests.chaos.cluster import SOURCE, ClusterOfSix
from tests.chaos.tape import Entry


def test_what_was_acknowledged_and_is_lost_is_counted_and_nothing_else(redis_client: redis.Redis) -> None:
    cluster = ClusterOfSix.__new__(ClusterOfSix)
    cluster.lost, cluster._acknowledged = 0, defaultdict(list)

    def append(*numbers: int) -> None:
        batch = [Entry(keys.events(n % 2), f"{n}-0", {b"n": b"%d" % n}) for n in numbers]
        cluster.append(redis_client, batch, time.monotonic() + 10)

    append(1, 2, 3)
    append(4, 5, 6, 8)
    assert (cluster.lost, redis_client.xlen(keys.events(0)), redis_client.xlen(keys.events(1))) == (0, 4, 3)
    redis_client.set(keys.moved(0, SOURCE), "4-0")  # as after a failover that has lost 6 and 8
    append(9, 10)
    append(11, 12)
    assert cluster.lost == 2
    found = [int(fields[b"n"]) for _, fields in redis_client.xrange(keys.events(0))]
    assert found == [2, 4, 6, 8, 10, 12]
