"""With ``TFS_REDIS_REPLICAS`` nothing is acknowledged before replicas have it, on one server and on a cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
import redis

from ingest import router
from ingest.messages.decode import encode
from ingest.messages.kinds import OrderBook, Tick, Trade
from ingest.publish.publisher import Publisher
from ingest.settings import Settings
from ingest.streams import keys, read, replicas
from ingest.streams.cluster import Cluster, pools
from ingest.streams.move import Batch, Record, append
from ingest.streams.outage import is_passing, open_redis
from ingest.streams.replicas import NotReplicatedError
from ingest.worker.worker import Worker
from tests.feature_repo.stores.redis_servers import Servers, free_port, wait_until

T0 = 1_700_000_000_000
CONF = Settings(partitions=1)


class Pair(NamedTuple):
    """A client that waits for one replica, and the replica of the master of partition 0."""

    client: redis.Redis
    replica: redis.Redis

    @contextlib.contextmanager
    def without_replica(self) -> Iterator[None]:
        """Let the replica stand still."""
        about: Any = self.replica.info("server")
        os.kill(about["process_id"], signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(about["process_id"], signal.SIGCONT)


@pytest.fixture
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(replicas, "WAIT_MS", 300)
    if request.param == "cluster":
        with open_redis(request.getfixturevalue("cluster_url"), 1) as found:
            client = cast(Cluster, found)
            node = client.nodes_manager.slots_cache[client.determine_slot("GET", keys.events(0))][1]
            with redis.Redis(port=node.port) as replica:
                yield Pair(found, replica)
        return
    folder = Path(tempfile.mkdtemp(prefix="tfs-"))
    folder.chmod(0o711)  # the servers may run as another user
    with contextlib.closing(Servers(folder)) as servers:
        master = servers.start(free_port(), "--save", "")
        port = servers.start(free_port(), "--save", "", "--replicaof", "127.0.0.1", str(master))
        with open_redis(f"redis://127.0.0.1:{master}", 1) as one, redis.Redis(port=port) as replica:
            wait_until(lambda: replica.info("replication")["master_link_status"] == "up")  # type: ignore[index]
            yield Pair(one, replica)
    shutil.rmtree(folder)


both = pytest.mark.parametrize("pair", ["server", "cluster"], indirect=True)


@both
def test_a_record_is_acknowledged_once_a_replica_has_it_also_where_it_is_sent_again(pair: Pair) -> None:
    batches = [Batch(0, [Record("market_data", (n, 0), ["n", n])]) for n in (1, 2)]
    assert append(pair.client, batches[:1]) == [1]
    with pair.without_replica():
        for _ in range(2):  # the second one appends nothing, and its connection is another one
            with pytest.raises(NotReplicatedError, match="fewer than TFS_REDIS_REPLICAS=1") as caught:
                append(pair.client, batches[1:])
            assert is_passing(caught.value)
            for pool in pools(pair.client):
                pool.disconnect()
    wait_until(lambda: pair.replica.info("replication")["master_link_status"] == "up")  # type: ignore[index]
    assert append(pair.client, batches[1:]) == [0]
    assert pair.client.xlen(keys.events(0)) == 2


@both
def test_a_plain_stream_is_trimmed_once_replicas_have_what_the_router_moved(pair: Pair) -> None:
    pair.client.xadd("market_data", {"data": encode(Trade(T0, "A", 1.0, 1.0))})
    found = read.entries_after(pair.client, {"market_data": read.START}, 10, 1)
    mover = router.Router(pair.client, 1)
    with pair.without_replica(), pytest.raises(NotReplicatedError):
        mover.move(found)
    assert (pair.client.xlen("market_data"), pair.client.xlen(keys.events(0))) == (1, 1)
    wait_until(lambda: pair.replica.info("replication")["master_link_status"] == "up")  # type: ignore[index]
    assert mover.move(found) == 0
    assert (pair.client.xlen("market_data"), pair.client.xlen(keys.events(0))) == (0, 1)


@both
def test_a_router_moves_nothing_of_a_batch_that_a_failover_has_cut(pair: Pair) -> None:
    """Who was not acknowledged a message appends it again: with the one that was moved it would be there twice."""
    streams = dict.fromkeys(("market_data", "order_book"), read.START)

    def add() -> bytes:
        pair.client.xadd("order_book", {"data": encode(Trade(T0, "A", 1.0, 1.0))})
        return cast(bytes, pair.client.xadd("market_data", {"data": encode(Trade(T0, "A", 1.0, 1.0))}))

    add()
    found = read.entries_after(pair.client, streams, 10, 1)
    assert router.sure(pair.client, found) == found
    newest = add()
    found = read.entries_after(pair.client, streams, 10, 1)
    pair.client.xdel("market_data", newest)
    assert router.sure(pair.client, found) == []


@both
def test_a_worker_writes_rows_online_once_replicas_have_their_entries_and_then_commits(pair: Pair) -> None:
    worker = Worker(pair.client, CONF)
    worker.open()

    def rows() -> tuple[int, int]:
        return len(list(pair.client.scan_iter("*trading"))), pair.client.xlen(keys.outbox(0))

    def publish(from_ms: int) -> None:
        with Publisher(pair.client, 1) as publisher:
            for ms in range(from_ms, from_ms + 3000, 100):
                publisher.publish("book", OrderBook(ms, "A", [(99.0, 1.0)], [(101.0, 1.0)], received=ms), recorded=True)
            publisher.publish("tick", Tick(from_ms + 3000, "A"), recorded=True)

    publish(T0)
    entries = read.entries_after(pair.client, {keys.events(0): read.START}, 100, 1)
    with pair.without_replica():
        worker._process(entries)
        with pytest.raises(NotReplicatedError):
            worker.flush()
        assert rows() == (0, 0)
    wait_until(lambda: pair.replica.info("replication")["master_link_status"] == "up")  # type: ignore[index]
    worker.open()
    worker._process(entries)
    worker.flush()
    assert rows()[0] == 1 and rows()[1] > 0
    worker.close()
