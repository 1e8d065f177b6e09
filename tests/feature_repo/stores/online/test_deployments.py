"""The promises of docs/online-store.md on a single server, behind Sentinel and on a cluster, whoever wrote the rows in which form.

All servers ask for a password with odd characters. Each test reads blocking, on an event loop, and with a cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.Value_pb2 import Value
from pytest import FixtureRequest, TempPathFactory

from feature_repo.stores.online.attempt import OnlineStoreUnavailableError
from feature_repo.stores.online.client import is_cluster
from feature_repo.stores.online.delete import keys_of
from feature_repo.stores.online.write import OnlineWriter
from feature_repo.stores.redis import RedisOnlineStore
from tests.feature_repo.stores.feast_rows import (
    TOGETHER,
    Config,
    entity,
    key_of,
    on_a_loop,
    settings,
    write_and_read,
)
from tests.feature_repo.stores.online.deployment import FORMS, SECRET, SYMBOLS, US, Deployment
from tests.feature_repo.stores.redis_servers import Servers, free_port
from transforms.catalog import SOCIAL
from transforms.times import datetime_of_us

TTL_US = SOCIAL.ttl_s * 1_000_000


@pytest.fixture(scope="module", params=["single server", "sentinel", "cluster"])
def servers_up(request: FixtureRequest, both_stores: Any, tmp_path_factory: TempPathFactory) -> Iterator[Deployment]:
    up = Servers(tmp_path_factory.mktemp("redis"), SECRET)
    type_ = {"type": "feature_repo.stores.redis.RedisOnlineStore"}
    if request.param == "sentinel":
        _, _, sentinel = up.replicated(SECRET[::-1])
        login = f"sentinel_password={quote(SECRET[::-1], safe='')}"
        chosen = {"url": f"redis+sentinel://:{quote(SECRET, safe='')}@127.0.0.1:{sentinel}/mymaster?{login}"}
    elif request.param == "cluster":
        chosen = {"redis_type": "redis_cluster", "connection_string": f"127.0.0.1:{up.cluster()[0]}"}
    else:
        chosen = {"connection_string": f"127.0.0.1:{up.start(free_port(), '--save', '')}"}
    made = Deployment(both_stores, **type_, **chosen)
    yield made
    made.close()
    for port in list(up.running):
        up.kill(port)


@pytest.fixture(params=FORMS)
def form(request: FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["blocking", "on a loop", "cached"])
def way(request: FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def on(servers_up: Deployment, form: str, way: str) -> Deployment:
    servers_up.begin(form, way)
    return servers_up


def test_every_feature_of_every_view_comes_back_to_the_bit_in_the_order_asked_for(on: Deployment) -> None:
    rng = np.random.default_rng(5)
    written = []
    for view in reversed(TOGETHER):
        values = rng.standard_normal((len(SYMBOLS), len(view.names))) * 10.0 ** rng.integers(-300, 300)
        for j, feature in enumerate(view.features):
            if feature.dtype == "Int64":
                values[:, j] = rng.integers(-(2**53), 2**53, len(SYMBOLS))
        values[rng.random(values.shape) < 0.2] = np.nan
        values[0, 0] = -0.0 if view.features[0].dtype == "Float64" else 0.0
        assert on.write(view, SYMBOLS, on.now_us - 1, values) == len(SYMBOLS)
        written.append(values)
    refs = [f"{view.name}:{name}" for view in reversed(TOGETHER) for name in view.names]
    response = on.read(refs, *SYMBOLS, "NOBODY")
    expected = np.vstack([np.hstack(written), np.full(len(refs), np.nan)])
    assert response.to_numpy().tobytes() == expected.tobytes()
    names = [ref.partition(":")[2] for ref in refs]
    assert list(response.to_df()) == ["symbol", *names]
    assert response.to_df()[names].to_numpy(float, na_value=np.nan).tobytes() == expected.tobytes()
    as_lists = [[np.nan if v is None else v for v in response.to_dict()[name]] for name in names]
    np.testing.assert_array_equal(np.array(as_lists, float).T, expected)
    for column in response.proto.results[1:]:
        assert column.statuses[-1] == FieldStatus.NOT_FOUND
        assert column.event_timestamps[-1].ToMicroseconds() == 0


def test_a_view_that_was_never_written_is_not_found_beside_one_that_was(on: Deployment) -> None:
    on.write(SOCIAL, SYMBOLS, on.now_us, np.ones((12, 8)))
    response = on.read(["social:author_ratio_1h", "order_flow:vpin"], *SYMBOLS)
    assert set(response.proto.results[1].statuses) == {FieldStatus.PRESENT}
    assert set(response.proto.results[2].statuses) == {FieldStatus.NOT_FOUND}


def test_a_value_is_withheld_once_it_or_its_feed_is_older_than_the_ttl_and_its_time_is_told(on: Deployment) -> None:
    symbols, times = SYMBOLS[:6], np.full(6, on.now_us, US)
    times[3:] = on.now_us - TTL_US + 2_000
    silent_us = np.array([0, 0, 0, 2_000, 3_000, 3_000])
    on.write(SOCIAL, symbols, times, np.arange(48.0).reshape(6, 8), silent_us)
    name, place = "author_ratio_1h", SOCIAL.index["author_ratio_1h"]
    late, here = FieldStatus.OUTSIDE_MAX_AGE, FieldStatus.PRESENT
    values = [8.0 * i + place for i in range(6)]
    expected = [(v, here, t) if i < 4 else (None, late, t) for i, (v, t) in enumerate(zip(values, times, strict=True))]
    assert on.told(name, *symbols) == expected
    now_us, on.now_us = on.now_us, on.now_us + TTL_US + 1
    try:
        assert on.told(name, *symbols) == [(None, late, t) for t in times]
        on.now_us -= 1
        assert [status for _, status, _ in on.told(name, *symbols[:3])] == [here] * 3
        on.store.config.online_store.enforce_ttl = False
        on.now_us *= 2
        assert on.told(name, *symbols) == [(v, here, t) for v, t in zip(values, times, strict=True)]
    finally:
        on.now_us, on.store.config.online_store.enforce_ttl = now_us, True


def test_the_newest_event_stays_of_equal_ones_that_created_last_and_a_replay_renews_no_expiry(on: Deployment) -> None:
    symbols, t_us = SYMBOLS[:3], on.now_us - 99

    def write(t_us: int, value: float, created_us: int | None = None) -> int:
        more = () if created_us is None else (0, created_us)
        return on.write(SOCIAL, symbols, t_us, np.full((3, 8), value), *more)

    def read() -> set[Any]:
        return {value for value, _, _ in on.told("author_ratio_1h", *symbols)}

    steps = [
        (t_us, 1.0, None, 3),
        (t_us, 2.0, None, 0),
        (t_us - 1, 3.0, t_us + 50, 0),
        (t_us, 4.0, t_us + 5, 3),
        (t_us, 5.0, t_us + 5, 0),
        (t_us, 6.0, t_us + 4, 0),
        (t_us, 7.0, None, 0),
        (t_us + 1, 8.0, None, 3),
    ]
    last = None
    for event_us, value, created_us, stored in steps:
        for symbol in symbols:
            on.client.expire(key_of(symbol), 500)
        assert write(event_us, value, created_us) == stored
        last = value if stored else last
        on.expect(read, {last})
    assert all(0 < on.client.ttl(key_of(symbol)) <= 500 for symbol in symbols)


def test_rows_that_feast_writes_meet_the_same_guard_and_some_features_join_those_that_are_there(on: Deployment) -> None:
    table, config = on.store.get_feature_view("social"), on.store.config
    t_us, names = on.now_us - 9, SOCIAL.names[-3:]
    on.write(SOCIAL, ["A"], t_us, np.ones((1, 8)))

    def write(t_us: int, value: float) -> None:
        row = [(entity("A"), {"author_ratio_1h": Value(double_val=value)}, datetime_of_us(t_us), None)]
        if on.way == "on a loop":
            on_a_loop(on.online, lambda: on.online.online_write_batch_async(config, table, row, None))
        else:
            on.online.online_write_batch(config, table, row, None)

    def read() -> list[Any]:
        return [
            values[0]
            for name, values in on.read([f"social:{name}" for name in names], "A").to_dict().items()
            if name != "symbol"
        ]

    whole = dict.fromkeys(names, 1.0)
    assert read() == list(whole.values())
    write(t_us - 1, 2.0)
    assert read() == list(whole.values())
    write(t_us + 1, 3.0)
    on.expect(read, [3.0 if name == "author_ratio_1h" else 1.0 for name in names])


def test_a_torn_down_project_and_a_removed_view_leave_the_rows_of_others(servers_up: Deployment, form: str) -> None:
    on = servers_up
    on.begin(form, "blocking")
    for view in TOGETHER[:2]:
        on.write(view, SYMBOLS, on.now_us, np.ones((12, len(view.names))))
    other = f"paper{on.project}"
    OnlineWriter(on.client, other, SOCIAL).write(SYMBOLS, np.full(12, on.now_us), np.ones((12, 8)))
    on.online.delete_table(on.store.config, on.store.get_feature_view(TOGETHER[0].name))
    refs = [f"{view.name}:{view.names[-1]}" for view in TOGETHER[:2]]
    first, second = (on.read(refs, *SYMBOLS).to_dict()[ref.partition(":")[2]] for ref in refs)
    assert (first, second) == ([None] * 12, [1.0] * 12)
    on.online.delete_entity_values(on.store.config, ["symbol"])
    left = [len(list(keys_of(on.client, name, ["symbol"]))) for name in (on.project, other)]
    assert left == [0, 12]


@pytest.mark.parametrize("cache", [0, 9])
def test_a_user_with_the_rights_that_the_docs_name_reads_and_writes(
    servers_up: Deployment, stores: Any, cache: int
) -> None:
    rights = ["+hmget", "+hget", "+hset", "+hdel", "+hlen", "+eval", "+object|encoding", "+expire"]
    rights += ["+cluster|slots", "+command"] if is_cluster(servers_up.client) else []
    rights += ["+client|tracking"] if cache else []
    nodes = servers_up.primaries()
    servers_up.client.flushall()
    for node in nodes:
        node.acl_setuser("desk", enabled=True, passwords=[f"+{SECRET}"], keys=["*"], commands=rights)
    try:
        given = servers_up.settings.model_copy(update={"username": "desk", "client_cache": cache})
        assert write_and_read(RedisOnlineStore(), Config(given), stores, 3.0) == [3.0] * 5
    finally:
        for node in nodes:
            node.acl_deluser("desk")


@pytest.mark.parametrize("kind", ["redis", "redis_sentinel", "redis_cluster"])
@pytest.mark.parametrize("cache", [0, 9])
def test_servers_that_are_away_are_named_after_bounded_attempts(stores: Any, kind: str, cache: int) -> None:
    where = f"127.0.0.1:{free_port()}"
    away = settings(connection_string=where, redis_type=kind, retries=1, client_cache=cache, password=SECRET)
    store, config, table = RedisOnlineStore(), Config(away), stores.ours.get_feature_view("social")
    row = [(entity("A"), {"author_ratio_1h": Value(double_val=1.0)}, datetime_of_us(stores.now_us), None)]
    calls = [
        lambda: store.online_read(config, table, [entity("A")]),
        lambda: on_a_loop(store, lambda: store.online_read_async(config, table, [entity("A")])),
        lambda: store.online_write_batch(config, table, row, None),
        lambda: on_a_loop(store, lambda: store.online_write_batch_async(config, table, row, None)),
    ]
    for call in calls:
        with pytest.raises(
            OnlineStoreUnavailableError, match=f"Redis at {where} did not answer in 2 attempts"
        ) as error:
            call()
        assert SECRET not in str(error.value)
