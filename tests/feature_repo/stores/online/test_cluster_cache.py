"""Replies that a process keeps of a cluster's nodes: while slots move, nodes fail over, and a node loses the others."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from feature_repo.stores.online.client import address_of_connection_string, connect
from feature_repo.stores.online.cluster_cache import ClusterReplyCache
from feature_repo.stores.online.shape import Fields
from tests.feature_repo.stores.redis_servers import Servers, wait_until

FIELDS = Fields.of([b"a"])
KEYS = [b"k%d" % i for i in range(12)]  # on each of three nodes some


class Cluster:
    """Servers, a cache of them, and the clock of the cache."""

    def __init__(self, own: Servers, **nodes: Any) -> None:
        self.own, self.now = own, 100.0
        self.ports = own.cluster(**nodes)
        address = address_of_connection_string(f"127.0.0.1:{self.ports[0]},socket_timeout=0.2")
        self.cache = ClusterReplyCache(connect(address, "redis_cluster"), 300, lambda: self.now)
        self.library: redis.RedisCluster = self.cache._client

    def close(self) -> None:
        self.cache.close()
        self.library.close()

    def port_of(self, key: bytes) -> int:
        return int(self.library.get_node_from_key(key).port)

    def write(self, value: bytes, *keys: bytes) -> None:
        for key in keys:
            self.library.hset(key, "a", value)

    def read(self, *keys: bytes) -> list[Any]:
        """Read as the store does: what is kept without a word to the servers."""
        ask = [(keys, FIELDS)]
        kept = self.cache.kept(ask)
        return [value for (value,) in (self.cache.fetch(ask) if kept is None else kept)]

    def is_kept(self, key: bytes) -> bool:
        return self.cache.kept([([key], FIELDS)]) is not None


@pytest.fixture
def cluster(own: Servers) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(**nodes: Any) -> Cluster:
        made.append(Cluster(own, **nodes))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_rows_of_all_nodes_are_kept_until_they_change_and_no_more_than_allowed(cluster: Any) -> None:
    it = cluster()
    it.write(b"1", *KEYS)
    assert it.read(*KEYS, KEYS[0]) == [b"1"] * 13
    assert all(map(it.is_kept, KEYS))
    assert {it.port_of(key) for key in KEYS} == set(it.ports)
    assert len(it.cache) == 12
    it.write(b"2", *KEYS[::2])
    wait_until(lambda: it.read(*KEYS) == [b"2", b"1"] * 6)
    small = ClusterReplyCache(it.library, 6)
    try:
        assert small.fetch([(KEYS, FIELDS)]) == [[b"2"], [b"1"]] * 6
        assert 3 <= len(small) <= 6
    finally:
        small.close()


def test_a_row_whose_slot_moves_is_read_where_it_is_and_kept_there_once_it_has_moved(cluster: Any) -> None:
    it, key = cluster(), KEYS[0]
    it.write(b"1", *KEYS)
    assert it.read(*KEYS) == [b"1"] * 12
    old = it.port_of(key)
    new = next(port for port in it.ports if port != old)
    source, target = redis.Redis(port=old), redis.Redis(port=new)
    slot, ids = it.library.keyslot(key), [node.cluster("myid").decode() for node in (source, target)]
    target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
    assert it.read(*KEYS) == [b"1"] * 12
    source.execute_command("MIGRATE", "127.0.0.1", new, key, 0, 5_000)
    it.write(b"2", key)
    wait_until(lambda: it.read(*KEYS) == [b"2"] + [b"1"] * 11)
    for node in (target, source):
        node.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
    it.write(b"3", key)
    wait_until(lambda: it.read(*KEYS) == [b"3"] + [b"1"] * 11)
    wait_until(lambda: it.read(*KEYS) == [b"3"] + [b"1"] * 11 and all(map(it.is_kept, KEYS)))
    assert it.port_of(key) == new
    target.hset(key, "a", b"4")
    wait_until(lambda: it.read(key) == [b"4"])
    source.close()
    target.close()


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_node_that_is_replaced_while_it_is_frozen_or_dead_gives_no_row_out_once_a_second_has_passed(
    cluster: Any, how: signal.Signals
) -> None:
    it = cluster(replicas=1)
    master, replica = it.ports[0], it.ports[-1]
    key = next(key for key in KEYS if it.port_of(key) == master)
    it.write(b"1", *KEYS)
    assert it.read(*KEYS) == [b"1"] * 12
    with redis.Redis(port=replica) as heir:
        wait_until(lambda: heir.info("replication")["master_link_status"] == "up")
        it.own.running[master].send_signal(how)
        heir.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
        wait_until(lambda: heir.role()[0] == b"master")
        heir.hset(key, "a", b"2")
        it.now += 1.0
        assert not it.is_kept(key)
        assert it.read(key) == [b"2"]
        assert it.read(*KEYS) == [b"2" if one == key else b"1" for one in KEYS]
        wait_until(lambda: it.read(key) == [b"2"] and it.is_kept(key))
        heir.hset(key, "a", b"3")
        wait_until(lambda: it.read(key) == [b"3"])


def test_a_node_that_has_lost_the_others_gives_no_row_out_though_it_still_answers(cluster: Any) -> None:
    it = cluster(n=2)
    key, port = KEYS[0], it.port_of(KEYS[0])
    it.write(b"1", key)
    assert it.read(key) == [b"1"]
    other = next(p for p in it.ports if p != port)
    it.own.running[other].send_signal(signal.SIGSTOP)
    with redis.Redis(port=port) as alone:
        wait_until(lambda: alone.cluster("info")["cluster_state"] == "fail")
        assert alone.ping()
    it.now += 1.0
    assert not it.is_kept(key)
    with pytest.raises((redis.exceptions.ClusterDownError, redis.exceptions.RedisClusterException)):
        it.read(key)
