"""Clients of a master that sentinels name: which master they take, when they leave it, and what they say where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
import redis

from feature_repo.stores.nodes import AddressError
from feature_repo.stores.online import sentinel as module
from feature_repo.stores.online.cache import ReplyCache
from feature_repo.stores.online.client import address_of_url, connect, with_sentinels
from ingest.streams import replicas
from ingest.streams.outage import is_passing, open_redis
from ingest.streams.replicas import NotReplicatedError
from ingest.worker.commit import patient
from tests.feature_repo.stores.online.caches import FIELDS, Steady
from tests.feature_repo.stores.redis_servers import Servers, free_port, wait_until

SECRET = "hunter2"


def test_an_address_names_sentinels_their_master_and_both_logins() -> None:
    address = address_of_url(
        "rediss+sentinel://desk:p%2Cq@a,[::1]:9/main/2?sentinel_username=w&sentinel_password=s&ssl_ca_certs=/ca"
    )
    assert (address.nodes, address.master) == ((("a", 26379), ("::1", 9)), "main")
    client = connect(address, "redis")
    known = client.connection_pool.connection_kwargs
    wanted = {"username": "desk", "password": "p,q", "db": 2, "ssl_ca_certs": "/ca"}
    assert {name: known[name] for name in wanted} == wanted
    of_sentinels = [one.connection_pool.connection_kwargs for one in with_sentinels(client)[1:]]
    assert [(k["host"], k["username"], k["password"], k["ssl_ca_certs"]) for k in of_sentinels] == [
        ("a", "w", "s", "/ca"),
        ("::1", "w", "s", "/ca"),
    ]
    assert all("SSL" in one.connection_pool.connection_class.__name__ for one in with_sentinels(client))


class Pair:
    """A master, its replica and a sentinel, and a client of the master that waits for the replica."""

    def __init__(self, servers: Servers) -> None:
        self.master, self.replica, self.sentinel = servers.replicated(SECRET)
        self.url = (
            f"redis+sentinel://:{quote(servers.password)}@127.0.0.1:{self.sentinel}/mymaster?sentinel_password={SECRET}"
        )
        self.direct = [servers.client(port) for port in (self.master, self.replica)]
        self.watcher = redis.Redis(port=self.sentinel, password=SECRET)
        wait_until(lambda: self.watcher.sentinel_masters()["mymaster"]["num-slaves"] == 1)
        self.client = open_redis(self.url, 1)

    def fail_over(self) -> None:
        """Let the replica take the place of the master, which lives, and return when the sentinel names it."""

        def is_done() -> bool:
            if self.named() == self.replica:
                return True
            with contextlib.suppress(redis.ResponseError):  # one is under way, or it has not heard of the replica yet
                self.watcher.execute_command("SENTINEL", "FAILOVER", "mymaster")
            return False

        wait_until(is_done)

    def named(self) -> int:
        return int(self.watcher.sentinel_get_master_addr_by_name("mymaster")[1])


@pytest.fixture
def pair(own: Servers) -> Iterator[Pair]:
    own.password = f"of the master, {SECRET}"
    made = Pair(own)
    yield made
    for client in (made.client, made.watcher, *made.direct):
        client.close()


def port_of(client: Any) -> int:
    """The port of the server that answers."""
    return int(client.config_get("port")["port"])


def test_a_client_leaves_a_master_that_was_replaced_and_still_answers(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_S", 3600.0)
    with open_redis(pair.url, 1) as part, patient(part, 3000) as long, asyncio.Runner() as loop:
        reader = connect(address_of_url(pair.url), "redis")
        on_loop = connect(address_of_url(pair.url), "redis", on_loop=True)
        ports: list[Callable[[], int]] = [
            lambda: port_of(part),
            lambda: port_of(reader),
            lambda: int(loop.run(on_loop.config_get("port"))["port"]),
        ]
        steady = Steady()
        cache, asks = ReplyCache(reader, 9, steady), [([b"key"], FIELDS)]
        try:
            pair.direct[0].hset("key", "a", "old")
            assert cache.fetch(asks) == [[b"old"]]
            assert [port() for port in ports] == [pair.master] * 3
            assert port_of(long) == pair.master
            pair.fail_over()
            assert pair.direct[0].role()[0] == b"master"  # type: ignore[index]  # for ten seconds
            with pytest.raises(NotReplicatedError):
                replicas.confirm(part, [0])
            # When the sentinels are asked, a command fails once: what is known of the old master does not count.
            for client, port in zip((part, reader, on_loop), ports, strict=True):
                client.connection_pool._watch._due = 0.0
                replaced = f"have made 127.0.0.1:{pair.replica} the master"
                with pytest.raises(redis.ConnectionError, match=replaced) as error:
                    port()
                assert is_passing(error.value)
                assert port() == pair.replica
            assert cache.kept(asks) == [[b"old"]]
            pair.direct[1].hset("key", "a", "new")
            steady.now += 1.0
            assert cache.kept(asks) is None
            assert cache.fetch(asks) == [[b"new"]]
        finally:
            cache.close()
            for client in with_sentinels(on_loop):
                loop.run(client.aclose())
            for client in with_sentinels(reader):
                client.close()


def test_a_demoted_master_is_an_outage_for_every_command_and_its_connection_is_closed(pair: Pair) -> None:
    pair.client.set("a", 1)
    wait_until(lambda: pair.direct[1].get("a") == b"1")
    [connection] = pair.client.connection_pool._available_connections
    pair.direct[1].replicaof("NO", "ONE")
    pair.direct[0].replicaof("127.0.0.1", pair.replica)

    def in_pipeline(transaction: bool) -> Any:
        pipe = pair.client.pipeline(transaction=transaction)
        pipe.get("a")
        pipe.set("a", 2)
        return pipe.execute(raise_on_error=False)

    writes: list[Callable[[], Any]] = [
        lambda: pair.client.set("a", 2),
        lambda: pair.client.eval("return redis.call('SET', KEYS[1], 2)", 1, "a"),
        lambda: in_pipeline(False),
        lambda: in_pipeline(True),
        lambda: replicas.confirm(pair.client, [0]),
    ]
    for write in writes:
        with pytest.raises(redis.ConnectionError, match="previous master is now a") as error:
            write()
        assert is_passing(error.value)
        assert connection._sock is None
    assert pair.direct[1].get("a") == b"1"


def test_a_read_that_waits_is_ended_when_its_master_is_demoted(pair: Pair) -> None:
    found: list[Exception] = []

    def wait() -> None:
        try:
            pair.client.xread({"log": "$"}, block=4000)
        except redis.RedisError as error:
            found.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: pair.direct[0].info("clients")["blocked_clients"] == 1)  # type: ignore[index]
    pair.direct[0].replicaof("127.0.0.1", pair.replica)
    thread.join(2)
    assert not thread.is_alive() and is_passing(found[0])


def test_a_client_says_what_is_wrong_with_its_sentinels_and_shows_no_password(own: Servers, pair: Pair) -> None:
    def error_of(url: str) -> Exception:
        with open_redis(url) as client, pytest.raises(Exception) as caught:
            client.ping()
        assert SECRET not in str(caught.value)
        return caught.value

    away = error_of(pair.url.replace(str(pair.sentinel), str(free_port())))
    assert is_passing(away) and "no sentinel names a master 'mymaster' that is well (127.0.0.1:" in str(away)
    unknown = error_of(pair.url.replace("/mymaster", "/other"))
    assert is_passing(unknown) and f"'other' that is well (127.0.0.1:{pair.sentinel}: it watches mymaster)" in str(
        unknown
    )
    login = error_of(pair.url.replace(f"_password={SECRET}", "_password=wrong"))
    assert isinstance(login, redis.AuthenticationError) and not is_passing(login)
    of_master = error_of(pair.url.replace(quote(own.password), "wrong"))
    assert isinstance(of_master, redis.AuthenticationError)
    own.kill(pair.master)
    wait_until(lambda: "it is down" in str(error_of(pair.url)) or pair.named() == pair.replica)
    own.password = ""
    plain = own.start(free_port(), "--save", "")
    none = error_of(f"redis+sentinel://127.0.0.1:{plain}/mymaster")
    assert isinstance(none, AddressError) and f"127.0.0.1:{plain} is no sentinel" in str(none)
