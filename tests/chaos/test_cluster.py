"""The cluster of the chaos: what it has acknowledged and a failover loses is counted, and a killed master does lose something."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict

import redis

from ingest.streams import keys
from ingest.streams.outage import open_redis
from tests.chaos.cluster import SOURCE, ClusterOfSix, cluster_of_six
from tests.chaos.tape import Entry

LOGS = 16
"""So many that each master has some."""


def batch_of(*numbers: int, logs: int = 2) -> list[Entry]:
    return [Entry(keys.events(n % logs), f"{n}-0", {b"kind": b"tick", b"n": b"%d" % n}) for n in numbers]


def test_what_was_acknowledged_and_is_lost_is_counted_and_nothing_else(redis_client: redis.Redis) -> None:
    cluster = ClusterOfSix.__new__(ClusterOfSix)
    cluster.lost, cluster._acknowledged = Counter(), defaultdict(list)

    def append(*numbers: int) -> None:
        cluster.append(redis_client, batch_of(*numbers), time.monotonic() + 10)

    append(1, 2, 3)
    append(4, 5, 6, 8)
    assert (cluster.lost.total(), redis_client.xlen(keys.events(0)), redis_client.xlen(keys.events(1))) == (0, 4, 3)
    redis_client.set(keys.moved(0, SOURCE), "4-0")  # as after a failover that has lost 6 and 8
    append(9, 10)
    append(11, 12)
    assert cluster.lost == {"tick": 2}
    found = [int(fields[b"n"]) for _, fields in redis_client.xrange(keys.events(0))]
    assert found == [2, 4, 6, 8, 10, 12]
    redis_client.set(keys.moved(1, SOURCE), "9-0")  # where nothing is appended afterwards
    cluster.look(redis_client)
    cluster.look(redis_client)
    assert cluster.lost == {"tick": 3}


def test_a_master_that_is_killed_loses_what_its_replica_lacks() -> None:
    stop, sent = threading.Event(), [LOGS]
    with cluster_of_six() as cluster, open_redis(cluster.url) as client:

        def append() -> None:
            while not stop.is_set():
                cluster.append(client, batch_of(*range(sent[0], sent[0] + LOGS), logs=LOGS), time.monotonic() + 20)
                sent[0] += LOGS

        producer = threading.Thread(target=append)
        producer.start()
        cluster.kill_and_elect(random.Random(1), apart_s=0.3)
        stop.set()
        producer.join()
        cluster.look(client)
        assert (
            sum(client.xlen(keys.events(p)) for p in range(LOGS))
            == sent[0] - LOGS - cluster.lost.total()
            < sent[0] - LOGS
        )
