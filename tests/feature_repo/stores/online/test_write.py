"""Guarded writes: never an older row over a newer one."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import redis
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from feature_repo.stores.online.attempt import attempt
from feature_repo.stores.online.client import address_of_url, connect
from feature_repo.stores.online.format import SymbolKeys, encode_time, feature_field, time_field, with_created
from feature_repo.stores.online.pack import packed_text
from feature_repo.stores.online.write import WRITE_NEWER, Lease, OnlineWriter, script_calls
from tests.feature_repo.stores.feast_rows import key_of, stored
from tests.feature_repo.stores.redis_servers import Servers, free_port, wait_until
from transforms.catalog import SOCIAL, VIEWS, Feature, View
from transforms.times import datetime_of_us

T_US = 1_700_000_000_123_456
T = datetime_of_us(T_US)
SMALL = View("small", "trade", 60, "Two features.", tuple(Feature(n, "", 0, 1, "") for n in ("writer", "event")))


def test_an_older_or_equal_event_changes_nothing_and_a_replay_is_idempotent(redis_client: redis.Redis) -> None:
    writer = OnlineWriter(redis_client, "trading", SMALL)

    def write(value: float, t: int) -> int:
        return writer.write(["A"], np.array([t]), np.array([[value, np.nan]]))

    assert [write(1.0, T_US), write(2.0, T_US - 1), write(3.0, T_US), write(4.0, T_US + 1)] == [1, 0, 0, 1]
    assert stored(redis_client, "A", SMALL) == (T_US + 1, {"writer": Value(double_val=4.0), "event": Value()})
    before = redis_client.hgetall(key_of("A"))
    assert [write(1.0, T_US), write(4.0, T_US + 1)] == [0, 0]
    assert redis_client.hgetall(key_of("A")) == before


def test_within_one_batch_the_newest_row_of_a_symbol_stays_whatever_its_place(redis_client: redis.Redis) -> None:
    times = np.array([T_US, T_US + 5, T_US + 3, T_US + 5])
    stored_rows = OnlineWriter(redis_client, "trading", SMALL).write(["A"] * 4, times, np.arange(8.0).reshape(4, 2))
    assert stored_rows == 2
    assert stored(redis_client, "A", SMALL)[1]["writer"].double_val == 2.0


def test_views_of_one_symbol_keep_their_own_times(redis_client: redis.Redis) -> None:
    OnlineWriter(redis_client, "trading", SMALL).write(["A"], np.array([T_US]), np.ones((1, 2)))
    OnlineWriter(redis_client, "trading", SOCIAL).write(["A"], np.array([T_US - 9]), np.zeros((1, 8)))
    assert stored(redis_client, "A", SMALL)[0] == T_US
    assert stored(redis_client, "A", SOCIAL)[0] == T_US - 9


def test_two_writers_racing_over_shuffled_times_leave_the_newest_event_of_each_key(
    stores: Any, redis_client: redis.Redis
) -> None:
    rng = np.random.default_rng(11)
    n_rows, symbols = 100_000, [f"S{i}" for i in range(40)]
    place = rng.integers(0, len(symbols), n_rows)
    times = T_US + rng.integers(0, 1_000_000, n_rows)  # about one pair in fifty of a symbol's rows has the same time
    failed: list[BaseException] = []

    def write(me: int) -> None:
        try:
            writer = OnlineWriter(redis_client, stores.project, SMALL)
            mine = np.arange(me, n_rows, 2)
            values = np.stack([np.full(len(mine), float(me)), times[mine].astype(float)], axis=1)
            for part in np.array_split(np.arange(len(mine)), 125):
                chosen = mine[part]
                writer.write([symbols[i] for i in place[chosen]], times[chosen], values[part])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(me,)) for me in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    for i, symbol in enumerate(symbols):
        newest = int(times[place == i].max())
        time_us, values = stored(redis_client, symbol, SMALL)
        assert time_us == newest
        assert values["event"].double_val == newest
        owners = {int(n) % 2 for n in np.flatnonzero((place == i) & (times == newest))}
        assert int(values["writer"].double_val) in owners


def test_a_server_killed_and_restarted_under_load_leaves_no_mixed_entity_and_the_writer_goes_on(own: Servers) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
    port = own.start(free_port(), *options)
    view = View("wide", "trade", 60, "", tuple(Feature(f"f{i}", "", 0, 1, "") for i in range(40)))
    client = connect(address_of_url(f"redis://127.0.0.1:{port}"), "redis")
    writer = OnlineWriter(client, "trading", view)
    symbols = [f"S{i}" for i in range(20)]
    acknowledged = [0]
    stop = threading.Event()
    failed: list[BaseException] = []

    def load() -> None:
        n = 0
        try:
            while not stop.is_set():
                n += 1
                values = np.full((20, 40), float(n))
                attempt(lambda n=n, values=values: writer.write(symbols, np.full(20, T_US + n), values), 30, port)
                acknowledged[0] = n
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(2):
            before = acknowledged[0]
            wait_until(lambda before=before: acknowledged[0] > before + 20 or bool(failed))
            own.kill(port)
            own.start(port, *options)
        before = acknowledged[0]
        wait_until(lambda: acknowledged[0] > before + 20 or bool(failed))
    finally:
        stop.set()
        thread.join()
    assert not failed
    for key in SymbolKeys("trading", "symbol").keys(symbols):
        raw = client.hgetall(key)
        last = Value(double_val=float(acknowledged[0])).SerializeToString()
        assert {raw[feature_field("wide", name)] for name in view.names} == {last}
        assert len(raw) == 41
        assert raw[time_field("wide")]
    client.close()


instants = st.tuples(st.integers(-(2**53), 2**53), st.integers(0, 999_999_999))


@given(old=instants, new=instants)
@example(old=(-1, 0), new=(0, 0))
@example(old=(-1, 999_999_999), new=(-1, 0))
def test_the_server_compares_times_to_the_nanosecond_before_and_after_1970(
    servers: Any, old: tuple[int, int], new: tuple[int, int]
) -> None:
    with redis.Redis.from_url(servers.redis_url) as client:
        client.delete("k")
        for seconds, nanos in (old, new):
            raw = Timestamp(seconds=seconds, nanos=nanos).SerializeToString()
            packed = b"\x92" + packed_text(b"_ts:v") + packed_text(raw)
            ((*arguments,),) = script_calls([b"k"], [packed], 0)
            client.execute_command(*arguments)
        newest = Timestamp.FromString(client.hget("k", "_ts:v"))
        assert (newest.seconds, newest.nanos) == max(old, new)


def test_every_view_of_the_catalogue_can_be_written_empty_and_whole(redis_client: redis.Redis) -> None:
    for view in VIEWS:
        writer = OnlineWriter(redis_client, "trading", view)
        nothing = np.empty((0, len(view.names)))
        assert writer.write([], np.empty(0, dtype=np.int64), nothing) == 0
        assert writer.write(["A"], np.array([T_US]), np.full((1, len(view.names)), np.nan)) == 1
        assert stored(redis_client, "A", view) == (T_US, dict.fromkeys(view.names, Value()))


@pytest.mark.parametrize("wrong", [0.5, 2.0**63, np.inf, -np.inf])
def test_an_int64_feature_refuses_what_is_not_a_whole_number_and_writes_nothing(
    redis_client: redis.Redis, wrong: float
) -> None:
    values = np.zeros((2, 8))
    values[1, SOCIAL.index["unique_authors_1h"]] = wrong
    with pytest.raises(ValueError, match="social:unique_authors_1h is Int64, but row 1 holds"):
        OnlineWriter(redis_client, "trading", SOCIAL).write(["A", "B"], np.array([T_US, T_US]), values)
    assert redis_client.dbsize() == 0


def test_columns_of_a_wrong_shape_are_refused(redis_client: redis.Redis) -> None:
    writer = OnlineWriter(redis_client, "trading", SMALL)
    with pytest.raises(ValueError, match=r"values must have shape \(1, 2\), not \(1, 3\)"):
        writer.write(["A"], np.array([T_US]), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="2 symbols but 1 event times"):
        writer.write(["A", "B"], np.array([T_US]), np.zeros((1, 2)))


def test_rows_can_join_the_pipeline_of_a_caller(redis_client: redis.Redis) -> None:
    writer = OnlineWriter(redis_client, "trading", SMALL)
    pipe = redis_client.pipeline(transaction=True)
    pipe.set("mark", "1")
    n_calls = writer.add_to(pipe, [f"S{i}" for i in range(100)], np.full(100, T_US), np.ones((100, 2)))
    assert redis_client.dbsize() == 0
    first, *counts = pipe.execute()
    assert first is True
    assert len(counts) == n_calls == 4  # 100 rows, 32 per script
    assert sum(counts) == 100
    assert redis_client.dbsize() == 101


def test_an_abandoned_symbol_leaves_and_a_living_one_stays(stores: Any, redis_client: redis.Redis) -> None:
    writer = OnlineWriter(redis_client, "trading", SMALL, key_ttl_s=3_600)
    writer.write(["A"], np.array([T_US]), np.ones((1, 2)))
    redis_client.expire(key_of("A"), 60)
    writer.write(["A"], np.array([T_US]), np.ones((1, 2)))
    assert redis_client.ttl(key_of("A")) <= 60  # a replay does not renew the expiry
    writer.write(["A"], np.array([T_US + 1]), np.ones((1, 2)))
    assert 3_500 < redis_client.ttl(key_of("A")) <= 3_600
    OnlineWriter(redis_client, "trading", SMALL).write(["B"], np.array([T_US]), np.ones((1, 2)))
    assert redis_client.ttl(key_of("B")) == -1


def test_a_wide_entity_is_kept_as_a_hash_table_and_without_a_field_too_many(redis_client: redis.Redis) -> None:
    for view in VIEWS:
        OnlineWriter(redis_client, "trading", view).write(["A"], np.array([T_US]), np.zeros((1, len(view.names))))
    assert redis_client.object("encoding", key_of("A")) == b"hashtable"
    assert redis_client.hlen(key_of("A")) == sum(len(v.names) + 1 for v in VIEWS)


def test_a_record_alone_is_read_as_any_row_and_leaves_no_field_of_another_time(
    stores: Any, redis_client: redis.Redis
) -> None:
    beside = OnlineWriter(redis_client, stores.project, SOCIAL)
    alone = OnlineWriter(redis_client, stores.project, SOCIAL, packed_only=True)
    refs, time = [f"social:{name}" for name in SOCIAL.names], time_field("social")

    def read() -> tuple[set[Any], set[Any]]:
        ours, stock = stores.both(refs, [{"symbol": "A"}])
        return tuple({values[0] for name, values in r.to_dict().items() if name != "symbol"} for r in (ours, stock))

    def write(writer: OnlineWriter, value: float, t_us: int) -> int:
        return writer.write(["A"], np.array([t_us]), np.full((1, 8), value))

    t_us = stores.now_us - 99
    assert write(alone, 1.0, t_us) == 1
    assert redis_client.hkeys(key_of("A")) == [time]
    assert read() == ({1.0}, {None})
    assert [write(alone, 2.0, t_us), write(beside, 3.0, t_us)] == [0, 0]
    assert write(beside, 4.0, t_us + 1) == 1
    assert read() == ({4.0}, {4.0})
    assert write(alone, 5.0, t_us + 2) == 1
    assert redis_client.hkeys(key_of("A")) == [time]
    assert read() == ({5.0}, {None})


def test_a_row_written_through_feast_may_be_a_record_alone_where_it_is_one(
    stores: Any, redis_client: redis.Redis
) -> None:
    stores.ours.config.online_store.packed_only = True
    try:
        for view, values, alone in (
            ("social", {name: Value(double_val=1.0) for name in SOCIAL.names}, False),
            ("fees", {"maker_bps": Value(double_val=1.5), "tier": Value(int64_val=2)}, True),
            ("fees", {"maker_bps": Value(double_val=2.5)}, False),
        ):
            table = stores.ours.get_feature_view(view)
            keys = {"symbol": Value(string_val="A"), "venue": Value(string_val="X")}
            keys = {name: keys[name] for name in table.join_keys}
            key = EntityKey(join_keys=list(keys), entity_values=list(keys.values()))
            redis_client.flushall()
            stores.online.online_write_batch(stores.ours.config, table, [(key, values, T, None)], None)
            (row,) = [redis_client.hgetall(key) for key in redis_client.keys("*")]
            assert len(row) == (1 if alone else len(values) + 1)
            ((_, found),) = stores.online.online_read(stores.ours.config, table, [key])
            assert found == {f.name: values.get(f.name, Value()) for f in table.features}
    finally:
        stores.ours.config.online_store.packed_only = False


def test_a_script_call_carries_at_most_32_rows_and_on_a_cluster_one() -> None:
    keys, rows = [b"%d" % i for i in range(70)], [b"row %d" % i for i in range(70)]
    calls = script_calls(keys, rows, 60)
    assert [call[2] for call in calls] == [32, 32, 6]
    assert calls[2] == ("EVAL", WRITE_NEWER, 6, *keys[64:], 60, "", *rows[64:])
    leased = script_calls(keys[:2], rows[:2], 0, lease=Lease("own:{1}", "7:me"))
    assert leased == [("EVAL", WRITE_NEWER, 3, *keys[:2], "own:{1}", 0, "7:me", *rows[:2])]
    (packed,) = script_calls(keys[:2], rows[:2], 0, left_out=b"names")
    assert packed == ("EVAL", WRITE_NEWER, 2, *keys[:2], 0, "", *rows[:2], b"names")
    assert script_calls(keys[:2], rows[:2], 0, 1) == [
        ("EVAL", WRITE_NEWER, 1, b"0", 0, "", b"row 0"),
        ("EVAL", WRITE_NEWER, 1, b"1", 0, "", b"row 1"),
    ]


def test_a_silence_takes_no_part_in_the_comparison_of_times(redis_client: redis.Redis) -> None:
    writer = OnlineWriter(redis_client, "trading", SMALL)

    def write(t_us: int, silent_us: int) -> int:
        return writer.write(["A"], np.array([t_us]), np.ones((1, 2)), np.array([silent_us]))

    assert [write(T_US, 5_000), write(T_US, 0), write(T_US - 1, 9_000), write(T_US + 1, 1_000)] == [1, 0, 0, 1]
    assert stored(redis_client, "A", SMALL)[0] == T_US + 1


def test_of_equal_event_times_the_row_created_later_stays_whichever_comes_first(redis_client: redis.Redis) -> None:
    writer = OnlineWriter(redis_client, "trading", SMALL)

    def write(t_us: int, created_us: int | None, value: float, silent_us: int = 0) -> int:
        created = None if created_us is None else np.array([created_us])
        return writer.write(["A"], np.array([t_us]), np.full((1, 2), value), np.array([silent_us]), created)

    assert write(T_US, None, 1.0) == 1
    assert write(T_US, None, 2.0) == 0  # neither says when it was created: the first stays
    assert write(T_US, T_US + 5, 3.0, silent_us=7_000) == 1
    assert write(T_US, T_US + 5, 4.0) == 0  # the same row again
    assert write(T_US, T_US + 4, 5.0) == 0  # created earlier, arrives later
    assert write(T_US, None, 6.0) == 0
    assert write(T_US, T_US + 6, 7.0) == 1  # a correction
    assert write(T_US - 1, T_US + 99, 8.0) == 0  # an older event, however late it was created
    assert stored(redis_client, "A", SMALL) == (T_US, dict.fromkeys(SMALL.names, Value(double_val=7.0)))
    assert write(T_US + 1, T_US, 9.0) == 1


def test_the_present_holder_of_a_lease_has_the_last_word_on_a_row(redis_client: redis.Redis) -> None:
    writer = OnlineWriter(redis_client, "trading", SMALL)

    def write(token: str, value: float, t_us: int = T_US, created_us: int = T_US + 5) -> list[int]:
        pipe = redis_client.pipeline(transaction=False)
        columns = (np.array([t_us]), np.full((1, 2), value), np.array([0]), np.array([created_us]))
        writer.add_to(pipe, ["A"], *columns, Lease("own:{1}", token))
        return pipe.execute()

    redis_client.set("own:{1}", "7:old")
    assert write("7:old", 1.0) == [1]
    redis_client.set("own:{1}", "8:new")
    assert write("8:new", 2.0) == [1], "the old one did not commit, so this is the row that the tables get"
    assert write("7:old", 3.0, created_us=T_US + 99) == [0], "with a clock that is ahead"
    assert write("7:old", 4.0, t_us=T_US + 1) == [0]
    assert write("8:new", 5.0, created_us=T_US + 4) == [0]
    redis_client.delete("own:{1}")
    assert write("8:new", 6.0, t_us=T_US + 1) == [0]
    assert stored(redis_client, "A", SMALL) == (T_US, dict.fromkeys(SMALL.names, Value(double_val=2.0)))


@given(st.lists(st.integers(0, 2**53 - 1), min_size=2, max_size=2))
@example([2**53 - 2, 2**53 - 1])
@example([2**32, 2**32 - 1])
def test_the_server_compares_created_times_to_the_microsecond(servers: Any, created: list[int]) -> None:
    with redis.Redis.from_url(servers.redis_url) as client:
        client.delete("k")
        for created_us in created:
            time = with_created(encode_time(T_US), created_us)
            packed = b"\x92" + packed_text(b"_ts:v") + packed_text(time)
            ((*arguments,),) = script_calls([b"k"], [packed], 0)
            client.execute_command(*arguments)
        assert client.hget("k", "_ts:v") == with_created(encode_time(T_US), max(created))
