"""Streams on a Redis Cluster of three masters and three replicas: as on one server."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any, cast

import pytest
import redis

from ingest import router
from ingest.messages.decode import decode_entry, encode
from ingest.messages.kinds import PLAIN_STREAM, OrderBook, Tick, Trade
from ingest.settings import Settings
from ingest.streams import keys
from ingest.streams.backlog import backlog, counters
from ingest.streams.cluster import Cluster, infos, pools
from ingest.streams.outage import end_waits, is_passing, open_redis
from ingest.streams.pipeline import Part
from ingest.worker import rows
from ingest.worker.worker import Worker
from tests.feature_repo.stores.redis_servers import free_port
from tests.integration.mortal import wait_until

T0 = 1_700_000_000_000
SYMBOLS = [f"S{i}" for i in range(12)]
CONF = Settings(partitions=4, allowed_lateness_ms=0)
LOGS = [keys.events(p) for p in range(CONF.partitions)]


@pytest.fixture
def cluster(cluster_url: str) -> Iterator[Cluster]:
    with open_redis(cluster_url) as client:
        yield cast(Cluster, client)


def master_of(client: Cluster, key: str) -> Any:
    return client.nodes_manager.get_node_from_slot(client.determine_slot("GET", key))


def fail_over(client: Cluster, key: str) -> None:
    """Let a replica take the place of the master of a key, and wait until all know it."""

    def nodes_of_slot() -> list[Any]:
        return list(client.nodes_manager.slots_cache[client.determine_slot("GET", key)])

    def has_replica() -> bool:  # one that was a master a moment ago is not one yet
        client.nodes_manager.initialize()
        return len(nodes_of_slot()) > 1

    client.ping(target_nodes=Cluster.PRIMARIES)
    wait_until(has_replica)
    before, replica = nodes_of_slot()[:2]
    asked = -math.inf

    def is_known() -> bool:
        nonlocal asked
        if client.execute_command("ROLE", target_nodes=replica)[0] == b"slave" and time.monotonic() - asked > 2:
            asked = time.monotonic()  # on a busy machine it gives up after a time
            with contextlib.suppress(redis.ResponseError):
                client.execute_command("CLUSTER FAILOVER", target_nodes=replica)
        slots = [client.execute_command("CLUSTER SLOTS", target_nodes=node) for node in client.get_nodes()]
        return all(
            (replica.host, replica.port) in of and (before.host, before.port) not in of for of in map(_masters, slots)
        )

    wait_until(is_known)


def _masters(slots: Any) -> set[tuple[str, int]]:
    return {about["primary"][:2] for about in slots.values()}


def test_logs_lie_on_several_servers_and_are_read_together(cluster: Cluster) -> None:
    assert len({master_of(cluster, log).name for log in LOGS}) > 1
    pipe = cluster.pipeline()
    for p, log in enumerate(LOGS):
        pipe.xadd(log, {"p": p})
        pipe.time()
    assert len(pipe.execute()) == 2 * len(LOGS)
    found = cluster.xread(dict.fromkeys(LOGS, "0-0"), count=10)
    assert [(name.decode(), fields) for name, [(_, fields)] in found] == [
        (log, {b"p": b"%d" % p}) for p, log in enumerate(LOGS)
    ]
    at = time.monotonic()
    assert cluster.xread(dict.fromkeys(LOGS, "$"), block=30) == []
    assert time.monotonic() - at >= 0.03
    assert [about["role"] for about in infos(cluster, "replication")] == ["master"] * 3


def test_a_client_connects_with_its_first_command_and_says_what_is_wrong(cluster: Cluster, cluster_url: str) -> None:
    away = open_redis(f"redis+cluster://127.0.0.1:{free_port()}")
    assert pools(away) == []
    away.close()
    with pytest.raises(redis.ConnectionError) as caught:
        away.ping()
    assert is_passing(caught.value)
    with pytest.raises(redis.ConnectionError):
        away.pipeline().set("a", 1).execute()
    with (
        pytest.raises(redis.AuthenticationError) as refused,
        open_redis(cluster_url.replace("//", "//desk:no@")) as wrong,
    ):
        wrong.ping()
    assert not is_passing(refused.value)


def test_a_command_whose_answer_is_lost_is_not_sent_again(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Part.read
    with monkeypatch.context() as patch:
        patch.setattr(Part, "read", lambda part: [redis.TimeoutError("lost") for _ in read(part)])
        pipe = cluster.pipeline()
        for log in LOGS:
            pipe.incr(log)
        found = pipe.execute(raise_on_error=False)
    assert [type(reply) for reply in found] == [redis.TimeoutError] * len(LOGS)
    assert [cluster.get(log) for log in LOGS] == [b"1"] * len(LOGS)


def test_a_pipeline_follows_a_slot_to_its_new_server_and_does_each_command_once(
    cluster: Cluster, cluster_url: str
) -> None:
    with open_redis(cluster_url) as other:
        fail_over(cast(Cluster, other), LOGS[0])
        pipe = cluster.pipeline()
        for log in LOGS:
            pipe.incr(log)
            pipe.incr(log)
        assert pipe.execute() == [1, 2] * len(LOGS)
        fail_over(cast(Cluster, other), LOGS[1])
    with cluster.pipeline(transaction=True) as pipe:
        pipe.incr(LOGS[1])
        pipe.get(LOGS[1])
        assert pipe.execute() == [3, b"3"]


def test_a_thread_that_waits_for_an_answer_gets_an_error_at_the_end(cluster: Cluster) -> None:
    found: list[Exception] = []

    def wait() -> None:
        try:
            cluster.xread({LOGS[0]: "$"}, block=4000)
        except redis.RedisError as error:
            found.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: any(about["blocked_clients"] for about in infos(cluster, "clients")))
    end_waits(cast(redis.Redis, cluster))
    thread.join(2)
    assert not thread.is_alive() and len(found) == 1


def test_plain_streams_of_several_servers_enter_a_log_in_the_order_in_which_they_were_written(cluster: Cluster) -> None:
    streams = ["order_book", "market_data", "derivatives"]
    assert len({master_of(cluster, name).name for name in streams}) > 1
    stop = threading.Event()
    thread = threading.Thread(target=router.run, args=(cluster, 1, stop))
    thread.start()
    try:
        for n in range(600):
            cluster.xadd(streams[n % 3], {"data": encode(Trade(T0 + n, "A", 1.0, 1.0))})
        wait_until(lambda: cluster.xlen(LOGS[0]) == 600)
    finally:
        stop.set()
        thread.join()
    times = [decode_entry(Tick, fields).timestamp for _, fields in cluster.xrange(LOGS[0])]
    assert times == [T0 + n for n in range(600)]
    assert not any(cluster.xlen(name) for name in PLAIN_STREAM)


def rows_of(client: Any, *disturb: Callable[[], None]) -> tuple[Counter[Any], dict[bytes, Any]]:
    """Feed both plain streams while a router and a worker run; return how often each offline row is there, and the online rows.

    Neither has its time of creation. What disturbs them happens at even times.
    """
    stop = threading.Event()
    threads = [
        threading.Thread(target=router.run, args=(client, CONF.partitions, stop)),
        threading.Thread(target=Worker(client, CONF).run, args=(stop,)),
    ]
    for thread in threads:
        thread.start()
    numbers = count()
    for i, ms in enumerate(range(T0, T0 + 5000, 100)):
        for n, symbol in enumerate(SYMBOLS):
            book = OrderBook(ms, symbol, [(99.0 - n, 1.0 + ms % 7)], [(101.0 + n, 1.0 + ms % 5)], received=ms)
            trade = Trade(ms, symbol, 100.0 + (ms // 100 * (n + 3)) % 11 / 8, 1.0, "buy", next(numbers), received=ms)
            client.xadd("order_book", {"data": encode(book), "recorded": "1"})
            client.xadd("market_data", {"data": encode(trade), "recorded": "1"})
        for act in disturb[i * len(disturb) // 50 : (i + 1) * len(disturb) // 50]:
            act()
    try:
        wait_until(lambda: counters(client, CONF.partitions).get("accepted.trade") == 50 * len(SYMBOLS))
        wait_until(lambda: not backlog(client, CONF.partitions).events)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    offline: Counter[Any] = Counter()
    for p in range(CONF.partitions):
        for _, fields in client.xrange(keys.outbox(p)):
            columns = rows.decode(fields[b"rows"])
            each = zip(columns.symbols, columns.event_us.tolist(), columns.values, strict=True)
            offline.update((p, columns.view.name, name, t_us, values.tobytes()) for name, t_us, values in each)
    assert sum(client.xlen(keys.letters(p)) for p in range(CONF.partitions)) == 0
    online = {
        key: {name: value for name, value in client.hgetall(key).items() if not name.startswith(b"_ts")}
        for key in client.scan_iter("*trading")
    }
    return offline, online


def test_rows_of_a_cluster_are_those_of_one_server_to_the_bit_also_through_failovers(
    one_server: None, redis_client: redis.Redis, cluster: Cluster
) -> None:
    offline, online = rows_of(redis_client)
    assert len(online) == len(SYMBOLS) and set(offline.values()) == {1}
    assert rows_of(cluster) == (offline, online)
    cluster.flushall()
    failovers = [partial(fail_over, cluster, log) for log in LOGS]
    assert rows_of(cluster, *failovers) == (offline, online)
