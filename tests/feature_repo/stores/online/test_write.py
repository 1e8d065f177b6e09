"""Writes to the online store: Feast's own bytes, and never an older row over a newer one."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
import redis
from feast.data_source import PushMode
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import (
    BoolList,
    BytesList,
    DoubleList,
    FloatList,
    Int32List,
    Int64List,
    Map,
    StringList,
    StringSet,
    Value,
    ZonedTimestamp,
)
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from feature_repo.stores.online.format import SymbolKeys, encode_time, feature_field, time_field
from feature_repo.stores.online.pack import RowEncoder, packed_text
from feature_repo.stores.online.write import OnlineWriter, script_calls
from transforms.catalog import MICROSTRUCTURE, SOCIAL, VIEWS, Feature, View
from transforms.times import datetime_of_us

T_US = 1_700_000_000_123_456
T = datetime_of_us(T_US)
SMALL = View("small", "trade", 60, "Two features.", tuple(Feature(n, "", 0, 1, "") for n in ("writer", "event")))

EVERY_VALUE = {
    "a_bool": Value(bool_val=False),
    "a_text": Value(string_val="x" * 70_000),
    "some_bytes": Value(bytes_val=bytes(range(256))),
    "a_small": Value(int32_val=-(2**31)),
    "a_long": Value(int64_val=-(2**63)),
    "a_single": Value(float_val=0.1),
    "a_double": Value(double_val=-0.0),
    "a_time": Value(unix_timestamp_val=1_700_000_000),
    "doubles": Value(double_list_val=DoubleList(val=[1.5, float("inf")])),
    "longs": Value(int64_list_val=Int64List(val=[1, -1])),
    "texts": Value(string_list_val=StringList(val=["a", ""])),
    "flags": Value(bool_list_val=BoolList(val=[True, False])),
    "times": Value(unix_timestamp_list_val=Int64List(val=[0, 1])),
    "singles": Value(float_list_val=FloatList(val=[0.5])),
    "smalls": Value(int32_list_val=Int32List(val=[7])),
    "blobs": Value(bytes_list_val=BytesList(val=[b"\x00", b"\xff"])),
    "a_set": Value(string_set_val=StringSet(val=["a"])),
    "a_map": Value(map_val=Map(val={"k": Value(double_val=1.0)})),
    "a_json": Value(json_val='{"a": 1}'),
    "a_uuid": Value(uuid_val="12345678-1234-5678-1234-567812345678"),
    "a_decimal": Value(decimal_val="1.10"),
    "a_zoned": Value(zoned_timestamp_val=ZonedTimestamp(unix_timestamp=5, zone="Europe/Berlin")),
    "a_struct": Value(struct_val=Map(val={"x": Value(double_val=2.0)})),
}


def entity(symbol: str) -> EntityKey:
    return EntityKey(join_keys=["symbol"], entity_values=[Value(string_val=symbol)])


def key_of(symbol: str) -> bytes:
    return SymbolKeys("trading", "symbol").keys([symbol])[0]


def stored(client: redis.Redis, symbol: str, view: View) -> tuple[int, dict[str, Value]]:
    """A row as it stands in Redis, read without this project's or Feast's store."""
    raw = client.hgetall(key_of(symbol))
    values = {name: Value.FromString(raw[feature_field(view.name, name)]) for name in view.names}
    return Timestamp.FromString(raw[time_field(view.name)]).ToMicroseconds(), values


@pytest.mark.parametrize("direction", ["stock reads ours", "ours reads stock"])
def test_either_store_reads_every_dtype_that_the_other_wrote(stores: Any, direction: str) -> None:
    writer, reader = ("ours", "stock") if direction == "stock reads ours" else ("stock", "ours")
    store = getattr(stores, writer)
    table = store.get_feature_view("every_type")
    online = store._get_provider().online_store
    nulls = {name: Value() for name in EVERY_VALUE}
    rows = [(entity("A"), EVERY_VALUE, T, None), (entity("B"), nulls, T, None)]
    online.online_write_batch(store.config, table, rows, None)
    response = stores.read(reader, [f"every_type:{n}" for n in EVERY_VALUE], [{"symbol": "A"}, {"symbol": "B"}])
    read = stores.columns(response)
    assert {name: read[name].values[0] for name in EVERY_VALUE} == EVERY_VALUE
    assert {name: read[name].values[1] for name in EVERY_VALUE} == nulls
    assert {t.ToMicroseconds() for name in EVERY_VALUE for t in read[name].event_timestamps} == {T_US}
    as_python = [
        stores.read(which, [f"every_type:{n}" for n in EVERY_VALUE], [{"symbol": "A"}, {"symbol": "B"}]).to_dict()
        for which in (writer, reader)
    ]
    assert as_python[0] == as_python[1]
    assert as_python[0]["a_double"] == [0.0, None]
    assert {f.name for f in table.features} == set(EVERY_VALUE)


def test_both_writers_of_this_store_and_stock_lay_the_same_bytes(stores: Any, redis_client: redis.Redis) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(3, len(MICROSTRUCTURE.names)))
    values[:, -1] = [1, 0, np.nan]
    values[1, 5:9] = np.nan
    symbols = ["BTCUSDT", "BINANCE:BTC-USDT", "é"]
    times = np.array([T_US, 1_700_000_000_000_000, 1])
    written = []
    OnlineWriter(redis_client, stores.project, MICROSTRUCTURE).write(symbols, times, values)
    written.append({k: redis_client.hgetall(k) for k in redis_client.keys("*")})
    for which in ("ours", "stock"):
        redis_client.flushall()
        store = getattr(stores, which)
        rows = []
        for symbol, t, row in zip(symbols, times.tolist(), values.tolist(), strict=True):
            protos = {
                n: Value() if np.isnan(v) else Value(double_val=v)
                for n, v in zip(MICROSTRUCTURE.names, row, strict=True)
            }
            protos["book_valid"] = Value() if np.isnan(row[-1]) else Value(int64_val=int(row[-1]))
            event = datetime_of_us(t)
            rows.append((entity(symbol), protos, event, None))
        table = store.get_feature_view("microstructure")
        store._get_provider().online_store.online_write_batch(store.config, table, rows, None)
        written.append({k: redis_client.hgetall(k) for k in redis_client.keys("*")})
    assert len(written[0]) == 3
    assert written[0] == written[1] == written[2]


def test_push_goes_through_the_guard(stores: Any, redis_client: redis.Redis) -> None:
    def frame(value: float, event: datetime) -> pd.DataFrame:
        row: dict[str, Any] = {n: [value] for n in SOCIAL.names}
        row |= {f.name: [int(value)] for f in SOCIAL.features if f.dtype == "Int64"}
        return pd.DataFrame(row | {"symbol": ["A"], "event_timestamp": [event]})

    for value, event in ((2.0, T), (1.0, T - timedelta(microseconds=1)), (3.0, T)):
        stores.ours.push("social_push", frame(value, event), to=PushMode.ONLINE)
    time_us, values = stored(redis_client, "A", SOCIAL)
    assert time_us == T_US
    assert values["author_ratio_1h"].double_val == 2.0


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


def test_a_batch_from_feast_obeys_the_guard_blocking_or_not(stores: Any, redis_client: redis.Redis) -> None:
    table, config = stores.ours.get_feature_view("social"), stores.ours.config
    done: list[int] = []

    def row(value: float, event: datetime) -> list[Any]:
        return [(entity("A"), {"author_ratio_1h": Value(double_val=value)}, event, None)]

    async def write(value: float, event: datetime) -> None:
        await stores.online.online_write_batch_async(config, table, row(value, event), done.append)
        await stores.online.close()

    stores.online.online_write_batch(config, table, row(1.0, T), done.append)
    asyncio.run(write(2.0, T - timedelta(microseconds=1)))
    asyncio.run(write(3.0, T))
    raw = redis_client.hget(key_of("A"), feature_field("social", "author_ratio_1h"))
    assert raw == Value(double_val=1.0).SerializeToString()
    asyncio.run(write(4.0, T + timedelta(microseconds=1)))
    stores.online.online_write_batch(config, table, row(5.0, T.replace(tzinfo=None)), done.append)  # naive is UTC
    raw = redis_client.hget(key_of("A"), feature_field("social", "author_ratio_1h"))
    assert raw == Value(double_val=4.0).SerializeToString()
    assert done == [1] * 5


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


@given(
    doubles=st.lists(st.floats(width=64), min_size=4, max_size=4),
    ints=st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53)), min_size=2, max_size=2),
)
def test_columns_become_the_bytes_that_protobuf_writes(doubles: list[float], ints: list[int | None]) -> None:
    values = np.array([[doubles[0], ints[0], doubles[1]], [doubles[2], ints[1], doubles[3]]], dtype=float)
    rows = RowEncoder("v", ["a", "n", "b"], ["Float64", "Int64", "Float64"]).rows(np.array([T_US, 0]), values)
    for row, packed, t in zip(values.tolist(), rows, (T_US, 0), strict=True):
        expected = b"\xdd\x00\x00\x00\x08" + packed_text(b"_ts:v") + packed_text(encode_time(t))
        for name, kind in (("a", "double_val"), ("b", "double_val"), ("n", "int64_val")):
            value = row["anb".index(name)]
            proto = Value() if np.isnan(value) else Value(**{kind: int(value) if name == "n" else value})
            expected += packed_text(feature_field("v", name)) + packed_text(proto.SerializeToString())
        assert packed == expected


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
    with pytest.raises(ValueError, match=r"values of shape \(1, 2\) wanted, not \(1, 3\)"):
        writer.write(["A"], np.array([T_US]), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="2 symbols but 1 event times"):
        writer.write(["A", "B"], np.array([T_US]), np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"not \['Float32'\]"):
        RowEncoder("v", ["a"], ["Float32"])


def test_rows_can_join_the_pipeline_of_a_caller(redis_client: redis.Redis) -> None:
    writer = OnlineWriter(redis_client, "trading", SMALL)
    pipe = redis_client.pipeline(transaction=True)
    pipe.set("mark", "1")
    n_calls = writer.add_to(pipe, [f"S{i}" for i in range(100)], np.full(100, T_US), np.ones((100, 2)))
    assert redis_client.dbsize() == 0
    first, *counts = pipe.execute()
    assert first is True
    assert len(counts) == n_calls == 4  # 100 rows, 32 a script
    assert sum(counts) == 100
    assert redis_client.dbsize() == 101


def test_an_abandoned_symbol_leaves_and_a_living_one_stays(stores: Any, redis_client: redis.Redis) -> None:
    writer = OnlineWriter(redis_client, "trading", SMALL, key_ttl_s=3_600)
    writer.write(["A"], np.array([T_US]), np.ones((1, 2)))
    redis_client.expire(key_of("A"), 60)
    writer.write(["A"], np.array([T_US]), np.ones((1, 2)))
    assert redis_client.ttl(key_of("A")) <= 60  # a replay is not a sign of life
    writer.write(["A"], np.array([T_US + 1]), np.ones((1, 2)))
    assert 3_500 < redis_client.ttl(key_of("A")) <= 3_600
    OnlineWriter(redis_client, "trading", SMALL).write(["B"], np.array([T_US]), np.ones((1, 2)))
    assert redis_client.ttl(key_of("B")) == -1


def test_a_wide_entity_is_kept_as_a_hash_table_and_without_a_field_too_many(redis_client: redis.Redis) -> None:
    for view in VIEWS:
        OnlineWriter(redis_client, "trading", view).write(["A"], np.array([T_US]), np.zeros((1, len(view.names))))
    assert redis_client.object("encoding", key_of("A")) == b"hashtable"
    assert redis_client.hlen(key_of("A")) == sum(len(v.names) + 1 for v in VIEWS)
