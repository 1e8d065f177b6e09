"""Replies that a process keeps: given out without a word to the server, and forgotten once their rows change."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import redis
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

from feature_repo.stores.online import cache as module
from feature_repo.stores.online.shape import Fields
from feature_repo.stores.redis import RedisOnlineStore
from tests.feature_repo.stores.feast_rows import Config, entity, key_of, on_a_loop, rows_of, settings, without_records
from tests.feature_repo.stores.online.caches import FIELDS, REFS, Steady, calls, write
from tests.feature_repo.stores.redis_servers import Servers, free_port, wait_until
from transforms.catalog import SOCIAL


@pytest.mark.parametrize("way", ["blocking", "on a loop"])
def test_a_row_that_does_not_change_is_read_once_and_one_that_does_again(
    caching: Any, redis_client: redis.Redis, way: str
) -> None:
    symbols = ["A", "B", "NOBODY"]

    def read() -> list[Any]:
        if way == "blocking":
            return caching.read("ours", REFS, rows_of(*symbols)).to_dict()["author_ratio_1h"]

        async def later() -> Any:
            return await caching.ours.get_online_features_async(REFS, rows_of(*symbols))

        return asyncio.run(later()).to_dict()["author_ratio_1h"]

    write(redis_client, caching.project, 1.0, caching.now_us - 9, "A", "B")
    assert read() == [1.0, 1.0, None]
    before = calls(redis_client)
    assert [read() for _ in range(3)] == [[1.0, 1.0, None]] * 3
    assert calls(redis_client) == before
    write(redis_client, caching.project, 2.0, caching.now_us - 8, "B")
    wait_until(lambda: read() == [1.0, 2.0, None])
    assert calls(redis_client) == before + 1  # only the one that changed
    write(redis_client, caching.project, 3.0, caching.now_us - 7, "NOBODY")
    wait_until(lambda: read() == [1.0, 2.0, 3.0])
    redis_client.delete(key_of("A"))
    wait_until(lambda: read() == [None, 2.0, 3.0])
    redis_client.pexpire(key_of("B"), 1)
    wait_until(lambda: read() == [None, None, 3.0])
    redis_client.flushall()
    wait_until(lambda: read() == [None, None, None])


def test_a_kept_row_is_withheld_once_it_is_older_than_its_ttl(caching: Any, redis_client: redis.Redis) -> None:
    write(redis_client, caching.project, 1.0, caching.now_us, "A")
    assert caching.read("ours", REFS, rows_of("A")).to_dict()["author_ratio_1h"] == [1.0]
    before = calls(redis_client)
    caching.clock.now_us += SOCIAL.ttl_s * 1_000_000 + 1
    late = caching.read("ours", REFS, rows_of("A"))
    assert late.to_dict()["author_ratio_1h"] == [None]
    assert list(caching.columns(late)["author_ratio_1h"].statuses) == [FieldStatus.OUTSIDE_MAX_AGE]
    assert calls(redis_client) == before


def test_rows_of_other_writers_are_kept_too(caching: Any, redis_client: redis.Redis) -> None:
    write(redis_client, caching.project, 1.0, caching.now_us, "A")
    without_records(redis_client, ["A"])
    read = [caching.read("ours", REFS, rows_of("A", "A")).to_dict() for _ in range(2)]
    before = calls(redis_client)
    read.append(caching.read("ours", REFS, rows_of("A", "A")).to_dict())
    assert calls(redis_client) == before
    assert read[0] == read[1] == read[2] == caching.read("stock", REFS, rows_of("A", "A")).to_dict()


def test_readers_in_threads_never_see_a_row_go_back_while_it_is_written(
    caching: Any, redis_client: redis.Redis
) -> None:
    failed: list[BaseException] = []
    stop = threading.Event()

    def look() -> None:
        last = 0.0
        try:
            while not stop.is_set():
                value = caching.read("ours", REFS, rows_of("A", "B")).to_dict()["author_ratio_1h"][0]
                assert value >= last
                last = value
        except BaseException as error:
            failed.append(error)

    write(redis_client, caching.project, 0.0, caching.now_us - 10_000, "A", "B")
    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(1, 200):
        write(redis_client, caching.project, float(i), caching.now_us - 10_000 + i, "A", "B")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed
    wait_until(lambda: caching.read("ours", REFS, rows_of("A")).to_dict()["author_ratio_1h"] == [199.0])


def test_no_more_replies_are_kept_than_allowed_and_those_in_use_stay(kept: Any, redis_client: redis.Redis) -> None:
    cache, other = kept(most=3), Fields.of([b"b"])
    for key in (b"1", b"2", b"1", b"3"):
        redis_client.hset(key, "a", key)
        assert cache.fetch([([key], FIELDS)]) == [[key]]
    assert cache.fetch([([b"1"], FIELDS)]) == [[b"1"]]
    assert len(cache) == 3
    cache.fetch([([b"4"], FIELDS)])
    assert [cache.kept([([key], FIELDS)]) for key in (b"1", b"2", b"3", b"4")] == [[[b"1"]], None, [[b"3"]], [[None]]]
    cache.fetch([([b"1"], other), ([b"1"], FIELDS)])  # a key is forgotten with all that is kept of it
    assert len(cache) <= 3
    for i in range(9):
        cache.fetch([([b"1"], Fields.of([b"%d" % i]))])
    assert len(cache) <= 3


def test_a_server_that_was_not_heard_for_long_is_asked_about_a_kept_key_before_a_kept_reply_is_given(
    kept: Any, redis_client: redis.Redis
) -> None:
    steady = Steady()
    cache, ask = kept(steady=steady), [([b"k"], FIELDS)]
    cache.fetch(ask)
    redis_client.config_resetstat()
    steady.now += module.CONFIRM_S - 0.001
    assert cache.kept(ask) == [[None]]
    steady.now += 0.001
    assert cache.kept(ask) is None
    assert cache.fetch(ask) == [[None]]
    assert (calls(redis_client, "hget"), calls(redis_client)) == (1, 0)
    assert cache.kept(ask) == [[None]]


def test_with_the_connection_everything_kept_is_lost_and_the_next_read_opens_another(
    kept: Any, redis_client: redis.Redis
) -> None:
    cache, ask = kept(), [([b"k"], FIELDS)]
    for value in (b"1", b"2"):
        redis_client.hset("k", "a", value)
        assert cache.fetch(ask) == [[value]]
        mine = next(c for c in redis_client.client_list() if "t" in c["flags"])
        redis_client.client_kill_filter(_id=mine["id"])
        redis_client.hset("k", "a", b"meanwhile")
        wait_until(lambda: cache.kept(ask) is None)
        assert len(cache) == 0


def test_an_error_in_the_middle_of_the_replies_leaves_none_to_the_next_reader(
    kept: Any, redis_client: redis.Redis
) -> None:
    cache = kept()
    redis_client.set("text", "x")
    redis_client.hset("k", "a", b"1")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        cache.fetch([([b"k", b"text", b"k"], FIELDS)])
    assert cache.fetch([([b"k"], FIELDS)]) == [[b"1"]]


def test_a_cache_survives_a_restart_of_the_server(own: Servers, stores: Any) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "always")
    port = own.start(free_port(), *options)
    store, config = RedisOnlineStore(), Config(settings(url=f"redis://127.0.0.1:{port}", client_cache=10))
    store.clock = lambda: stores.now_us
    table = stores.ours.get_feature_view("social")

    def read() -> Any:
        ((_, found),) = store.online_read(config, table, [entity("A")], ["author_ratio_1h"])
        return found and found["author_ratio_1h"].double_val

    with redis.Redis(port=port) as client:
        write(client, "trading", 1.0, stores.now_us - 9, "A")
    assert [read(), read()] == [1.0, 1.0]
    own.kill(port)
    own.start(port, *options)
    with redis.Redis(port=port) as client:
        write(client, "trading", 2.0, stores.now_us - 8, "A")
    assert read() == 2.0
    on_a_loop(store, store.close)
