"""Addresses of Redis, and clients of a single server, a cluster and sentinels."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import redis

from feature_repo.stores.nodes import AddressError
from feature_repo.stores.online.client import (
    address_of_connection_string,
    address_of_url,
    connect,
    is_cluster,
    with_sentinels,
)
from feature_repo.stores.online.write import OnlineWriter
from feature_repo.stores.redis import RedisOnlineStore
from tests.feature_repo.stores.feast_rows import Config, entity, settings, write_and_read
from tests.feature_repo.stores.redis_servers import Servers, wait_until
from transforms.catalog import SOCIAL

SECRET = 'p,a=s"s:w@rd/#?%&é 0'
T_US = 1_700_000_000_000_000


def test_a_connection_string_keeps_a_password_as_it_is_written() -> None:
    address = address_of_connection_string("[::1]:6379,db=2,ssl=true,password=0123,username=null,socket_timeout=0.5")
    assert address.nodes == (("::1", 6379),)
    assert address.options == {"db": 2, "ssl": True, "password": "0123", "username": "null", "socket_timeout": 0.5}


def test_a_malformed_connection_string_does_not_show_its_secrets() -> None:
    with pytest.raises(ValueError, match="percent-encoded") as failure:
        address_of_connection_string("db:6379,password=abc,hunter2")
    assert "hunter2" not in str(failure.value)


def test_an_address_may_name_tls_a_socket_or_a_user() -> None:
    address = address_of_url(f"rediss://desk:{quote(SECRET, safe='')}@db.example:6380/2?ssl_cert_reqs=none")
    assert address.nodes == (("db.example", 6380),)
    assert address.options == {"db": 2, "username": "desk", "password": SECRET, "ssl": True, "ssl_cert_reqs": "none"}
    assert address_of_url("unix:///run/redis.sock?db=1").options == {"path": "/run/redis.sock", "db": 1}
    assert str(address_of_url("unix:///run/redis.sock")) == "/run/redis.sock"


def test_a_client_has_time_limits_and_repeats_nothing_by_itself() -> None:
    for on_loop in (False, True):
        plain = connect(address_of_url("redis://:p@db:7000/3?socket_timeout=0.5"), "redis", on_loop=on_loop)
        known = plain.connection_pool.connection_kwargs
        wanted = {"host": "db", "port": 7000, "db": 3, "password": "p"}
        assert {name: known[name] for name in wanted} == wanted
        assert (known["socket_timeout"], known["socket_connect_timeout"]) == (0.5, 2.0)
        assert known["retry"].get_retries() == 0
        assert with_sentinels(plain) == [plain]
        assert not is_cluster(plain)
        socket = connect(address_of_url("unix:///run/redis.sock"), "redis", on_loop=on_loop)
        assert socket.connection_pool.connection_kwargs["path"] == "/run/redis.sock"


@pytest.mark.parametrize(
    "form", ["redis://a:1/0", "rediss://a:1", "unix:///s", "redis+cluster://a:1,b:1", "redis+sentinel://a:1/m"]
)
def test_an_option_that_redis_does_not_know_and_a_wrong_value_are_told(form: str) -> None:
    with pytest.raises(AddressError, match="unknown option: 'passwort'"):
        address_of_url(f"{form}?passwort=hunter2")
    with pytest.raises(AddressError, match="socket_timeout") as caught:
        address_of_url(f"{form}?socket_timeout=hunter2")
    assert "hunter2" not in str(caught.value)
    assert address_of_url(f"{form}?socket_timeout=0.5&health_check_interval=5").options["socket_timeout"] == 0.5


def test_sentinels_have_their_own_login_and_are_closed_with_the_client() -> None:
    address = address_of_connection_string("s1:1,s2:2,password=data,sentinel_password=watch,sentinel_username=w")
    client = connect(address, "redis_sentinel", "trading")
    assert client.connection_pool.service_name == "trading"
    assert client.connection_pool.connection_kwargs["password"] == "data"
    first, *sentinels = with_sentinels(client)
    assert first is client
    known = [sentinel.connection_pool.connection_kwargs for sentinel in sentinels]
    assert [(k["host"], k["port"], k["username"], k["password"]) for k in known] == [
        ("s1", 1, "w", "watch"),
        ("s2", 2, "w", "watch"),
    ]
    assert [(k["socket_timeout"], k["retry"].get_retries()) for k in known] == [(0.5, 0)] * 2


@pytest.mark.parametrize("form", ["url", "field", "with a cache"])
def test_an_acl_user_with_any_password_and_the_least_rights_reads_and_writes(
    stores: Any, servers: Any, redis_client: redis.Redis, form: str
) -> None:
    rights = ["+hmget", "+hget", "+hset", "+hdel", "+hlen", "+eval", "+object|encoding", "+expire"]
    rights += ["+client|tracking"] if form == "with a cache" else []
    redis_client.acl_setuser("desk", enabled=True, passwords=[f"+{SECRET}"], keys=["*"], commands=rights)
    where = address_of_url(servers.redis_url)
    url = f"redis://desk:{quote(SECRET, safe='')}@{where}"
    given = {"url": url} if form == "url" else {"connection_string": str(where), "username": "desk", "password": SECRET}
    given |= {"client_cache": 9} if form == "with a cache" else {}
    try:
        assert write_and_read(RedisOnlineStore(), Config(settings(**given)), stores, 3.0) == [3.0] * 5
    finally:
        redis_client.acl_deluser("desk")


def test_a_cluster_of_three_nodes_reads_and_writes(stores: Any, own: Servers) -> None:
    ports = own.cluster()
    nodes = [redis.Redis(port=p) for p in ports]
    config = Config(settings(connection_string=f"127.0.0.1:{ports[0]}", redis_type="redis_cluster"))
    store = RedisOnlineStore()
    assert write_and_read(store, config, stores, 4.0, symbols=30) == [4.0] * 30
    assert write_and_read(store, config, stores, 3.0, symbols=30) == [4.0] * 30  # older
    assert all(n.dbsize() > 0 for n in nodes)
    client = connect(config.online_store.address(), "redis_cluster")
    writer = OnlineWriter(client, "trading", SOCIAL)
    assert writer.write([f"S{i}" for i in range(30)], np.full(30, T_US + 99), np.ones((30, 8))) == 30
    assert writer.write([f"S{i}" for i in range(30)], np.full(30, T_US + 99), np.zeros((30, 8))) == 0
    OnlineWriter(client, "trading", SOCIAL, packed_only=True).write(
        ["S1"], np.array([T_US + 100]), np.full((1, 8), 5.0)
    )
    table, read = stores.ours.get_feature_view("social"), [entity(f"S{i}") for i in range(30)]
    values = [found["author_ratio_1h"].double_val for _, found in store.online_read(config, table, read)]
    assert values == [1.0, 5.0, *[1.0] * 28]
    client.close()
    for node in nodes:
        node.close()


def test_a_failover_by_sentinel_moves_readers_and_writers_to_the_new_master(stores: Any, own: Servers) -> None:
    master, replica, sentinel = own.replicated()
    chosen = settings(connection_string=f"127.0.0.1:{sentinel}", redis_type="redis_sentinel", retries=15)
    store, config = RedisOnlineStore(), Config(chosen)
    caching, cached = RedisOnlineStore(), Config(chosen.model_copy(update={"client_cache": 99}))
    assert write_and_read(store, config, stores, 1.0) == [1.0] * 5
    assert write_and_read(caching, cached, stores, 1.0) == [1.0] * 5
    with redis.Redis(port=replica) as follower, redis.Redis(port=sentinel) as watcher:
        wait_until(lambda: follower.dbsize() == 5 and follower.info("replication")["master_link_status"] == "up")
        wait_until(lambda: watcher.sentinel_masters()["mymaster"]["num-slaves"] == 1)
    own.kill(master)
    assert write_and_read(store, config, stores, 2.0) == [2.0] * 5
    assert write_and_read(caching, cached, stores, 3.0) == [3.0] * 5
