"""Kept replies while something fails: connections, servers, clocks, processes. None is given out that could be too old."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from feature_repo.stores.online import cache as module
from feature_repo.stores.online.cache import ReplyCache
from feature_repo.stores.online.client import Address, address_of_url, connect
from feature_repo.stores.redis import RedisOnlineStore
from tests.feature_repo.stores.feast_rows import Config, entity, on_a_loop, rows_of, settings
from tests.feature_repo.stores.online.caches import FIELDS, REFS, Steady, calls, write
from tests.feature_repo.stores.redis_servers import DEADLINE_S, Servers, wait_until


def test_a_clock_that_is_set_withholds_a_kept_row_or_gives_it_again_and_keeps_nothing_longer(
    caching: Any, redis_client: redis.Redis
) -> None:
    write(redis_client, caching.project, 1.0, caching.now_us, "A")

    def read() -> Any:
        return caching.read("ours", REFS, rows_of("A")).to_dict()["author_ratio_1h"]

    assert read() == [1.0]
    before = calls(redis_client)
    caching.clock.now_us += 10**12  # set ahead
    assert read() == [None]
    caching.clock.now_us -= 2 * 10**12  # set back
    assert read() == [1.0]
    assert calls(redis_client) == before
    write(redis_client, caching.project, 2.0, caching.now_us + 1, "A")
    wait_until(lambda: read() == [2.0])


def test_a_server_whose_table_of_readers_is_full_has_its_rows_forgotten_early_and_not_late(
    kept: Any, redis_client: redis.Redis
) -> None:
    cache, keys = kept(), [b"%d" % i for i in range(50)]
    redis_client.config_set("tracking-table-max-keys", 10)
    try:
        for value in (b"1", b"2"):
            for key in keys:
                redis_client.hset(key, "a", value)
            wait_until(lambda value=value: cache.fetch([(keys, FIELDS)]) == [[value]] * 50)
            wait_until(lambda: cache.kept([(keys, FIELDS)]) is None)
    finally:
        redis_client.config_set("tracking-table-max-keys", 1_000_000)


def test_a_forked_process_reads_by_a_connection_of_its_own_whatever_a_thread_of_its_parent_held(
    kept: Any, redis_client: redis.Redis
) -> None:
    cache, ask = kept(), [([b"k"], FIELDS)]
    redis_client.hset("k", "a", b"1")
    assert cache.fetch(ask) == [[b"1"]]
    told = multiprocessing.get_context("fork").SimpleQueue()

    def child() -> None:
        nothing = cache.kept(ask)
        told.put((nothing, len(cache), cache.fetch(ask), cache.kept(ask)))

    with cache._lock:  # as a thread does in the middle of a read
        with warnings.catch_warnings():
            # It warns of a fork beside threads, which is the case under test.
            warnings.simplefilter("ignore", DeprecationWarning)
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
        process.join(DEADLINE_S)
        assert process.exitcode == 0
    assert told.get() == (None, 0, [[b"1"]], [[b"1"]])
    redis_client.hset("k", "a", b"2")  # the parent's connection still hears of it
    wait_until(lambda: cache.fetch(ask) == [[b"2"]])


def test_an_idle_connection_that_the_server_closed_is_replaced_in_the_same_attempt(
    kept: Any, redis_client: redis.Redis
) -> None:
    steady = Steady()
    cache, ask = kept(steady=steady), [([b"k"], FIELDS)]
    redis_client.hset("k", "a", b"1")
    assert cache.fetch(ask) == [[b"1"]]
    for value, passed_s in ((b"2", 0.0), (b"3", module.CONFIRM_S)):
        redis_client.client_kill_filter(_type="normal", skipme=True)
        redis_client.hset("k", "a", value)
        steady.now += passed_s
        assert cache.fetch(ask) == [[value]]


@pytest.fixture
def deaf(servers: Any) -> Iterator[tuple[int, threading.Event]]:
    """A way to the server that loses all that the server says, and no connection, once the event is set; later ones are well."""
    is_deaf, address = threading.Event(), address_of_url(servers.redis_url)
    open_: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket, lost: threading.Event | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if lost is None or not lost.is_set():
                    sink.sendall(data)

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.create_connection(address.nodes[0])
                open_.extend((near, far))
                lost = None if is_deaf.is_set() else is_deaf
                for source, sink, which in ((near, far, None), (far, near, lost)):
                    threading.Thread(target=pump, args=(source, sink, which), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield listening.getsockname()[1], is_deaf
        for one in (listening, *open_):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def test_a_connection_that_dies_without_a_word_gives_nothing_out_once_a_second_has_passed(
    deaf: tuple[int, threading.Event], servers: Any, redis_client: redis.Redis
) -> None:
    (port, is_deaf), steady = deaf, Steady()
    password = address_of_url(servers.redis_url).options.get("password")
    given = Address((("127.0.0.1", port),), {"password": password, "socket_timeout": 0.2})
    cache, ask = ReplyCache(connect(given, "redis"), 9, steady), [([b"k"], FIELDS)]
    redis_client.hset("k", "a", b"1")
    assert cache.fetch(ask) == [[b"1"]]
    is_deaf.set()
    redis_client.hset("k", "a", b"2")
    steady.now += module.CONFIRM_S
    assert cache.kept(ask) is None
    with pytest.raises(redis.TimeoutError):
        cache.fetch(ask)
    assert cache.fetch(ask) == [[b"2"]]  # the store repeats the call
    cache.close()


def test_a_frozen_master_that_sentinel_replaces_gives_no_row_out_once_a_second_has_passed(
    own: Servers, stores: Any
) -> None:
    master, replica, sentinel = own.replicated()
    where, steady = f"127.0.0.1:{sentinel},socket_timeout=0.2", Steady()
    store = RedisOnlineStore()
    store.clock = lambda: stores.now_us
    given = settings(connection_string=where, redis_type="redis_sentinel", client_cache=9, retries=20)
    config, table = Config(given), stores.ours.get_feature_view("social")
    store._get_client(given)
    assert isinstance(store._cache, ReplyCache)
    store._cache._steady = steady

    def read() -> Any:
        ((_, found),) = store.online_read(config, table, [entity("A")], ["author_ratio_1h"])
        return found and found["author_ratio_1h"].double_val

    with redis.Redis(port=master) as client, redis.Redis(port=replica) as heir, redis.Redis(port=sentinel) as watcher:
        wait_until(lambda: heir.info("replication")["master_link_status"] == "up")
        wait_until(lambda: watcher.sentinel_masters()["mymaster"]["num-slaves"] == 1)
        write(client, "trading", 1.0, stores.now_us - 9, "A")
        wait_until(lambda: heir.dbsize() == 1)
        assert [read(), read()] == [1.0, 1.0]
        own.running[master].send_signal(signal.SIGSTOP)
        wait_until(lambda: heir.role()[0] == b"master")
        write(heir, "trading", 2.0, stores.now_us - 8, "A")
        wait_until(lambda: watcher.sentinel_get_master_addr_by_name("mymaster")[1] == replica)
        steady.now += module.CONFIRM_S
        assert read() == 2.0
        write(heir, "trading", 3.0, stores.now_us - 7, "A")
        wait_until(lambda: read() == 3.0)
    on_a_loop(store, store.close)
