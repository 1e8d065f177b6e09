"""The online store that Feast loads: its settings, its reads and writes beside Feast's own, and a server that is away."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

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
    RepeatedValue,
    StringList,
    StringSet,
    Value,
    ZonedTimestamp,
)
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import ValidationError
from redis.exceptions import AuthenticationError

from feature_repo.stores.errors import UserError
from feature_repo.stores.online.attempt import OnlineStoreUnavailableError
from feature_repo.stores.online.client import address_of_url
from feature_repo.stores.online.format import feature_field, time_field
from feature_repo.stores.online.write import OnlineWriter
from feature_repo.stores.redis import RedisOnlineStore
from tests.feature_repo.stores.feast_rows import (
    SYMBOLS,
    Config,
    entity,
    key_of,
    on_a_loop,
    rows_of,
    serve,
    settings,
    stored,
    write_and_read,
)
from tests.feature_repo.stores.redis_servers import Servers, free_port
from transforms.catalog import MICROSTRUCTURE, SOCIAL
from transforms.times import datetime_of_us

SECRET = 'p,a=s"s:w@rd/#?%&é 0'
T_US = 1_700_000_000_123_456
T = datetime_of_us(T_US)
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


def test_no_form_of_the_settings_shows_a_secret() -> None:
    chosen = settings(url=f"redis://:{quote(SECRET, safe='')}@db:6379", password="hunter2", sentinel_password="hunter3")
    shown = repr(chosen) + str(chosen) + repr(chosen.address()) + str(chosen.address())
    assert not [s for s in (SECRET, quote(SECRET, safe=""), "hunter2", "hunter3") if s in shown]
    assert chosen.address().options["password"] == "hunter2"


def test_settings_that_would_break_a_promise_are_refused() -> None:
    for wrong in ({"skip_dedup": True}, {"client": "glide"}, {"url": "redis://a", "connection_string": "a:1"}):
        with pytest.raises(ValidationError):
            settings(**wrong)


def test_without_an_address_the_deployment_says_where_redis_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFS_REDIS_URL", "redis://db.example:7000/3")
    assert str(settings().address()) == "db.example:7000"


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


def test_both_writers_of_this_store_lay_the_same_bytes_and_stock_those_without_the_record(
    stores: Any, redis_client: redis.Redis
) -> None:
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
    assert written[0] == written[1]
    time = time_field("microstructure")
    for row in written[0].values():
        row[time] = Timestamp.FromString(row[time])
        row[time].DiscardUnknownFields()
        row[time] = row[time].SerializeToString()
    assert written[0] == written[2]


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


def test_a_correction_pushed_through_feast_reaches_redis_and_stock_reads_it(
    stores: Any, redis_client: redis.Redis
) -> None:
    table, config = stores.ours.get_feature_view("social"), stores.ours.config

    def write(value: float, created: datetime | None) -> None:
        row = [(entity("A"), {"author_ratio_1h": Value(double_val=value)}, T, created)]
        stores.online.online_write_batch(config, table, row, None)

    def read() -> list[float]:
        ours, stock = stores.both(["social:author_ratio_1h"], rows_of("A"))
        assert ours.to_dict() == stock.to_dict()
        return list(ours.to_dict()["author_ratio_1h"])

    write(1.0, T + timedelta(seconds=1))
    write(2.0, T + timedelta(seconds=2))  # of the same event time, created later
    assert read() == [2.0]
    write(3.0, T + timedelta(seconds=1))
    write(4.0, None)
    write(5.0, pd.NaT)
    assert read() == [2.0]
    stock = stores.stock._get_provider().online_store
    row = [(entity("A"), {"author_ratio_1h": Value(double_val=6.0)}, T + timedelta(seconds=1), None)]
    stock.online_write_batch(stores.stock.config, table, row, None)
    assert read() == [6.0]
    write(7.0, T + timedelta(seconds=9))  # an older event than what stock wrote
    assert read() == [6.0]


NULL_KEY = "the entity key symbol is null in at least one row; leave such rows out"
NO_ROWS = "entity_rows is empty: name the entities"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"symbol": "A"}, {"symbol": None}], NULL_KEY),
        ({"symbol": [None]}, NULL_KEY),
        ([], NO_ROWS),
        ({}, NO_ROWS),
        ([{}], NO_ROWS),
        ({"symbol": []}, NO_ROWS),
        ({"symbol": RepeatedValue()}, NO_ROWS),
    ],
)
def test_a_null_entity_key_and_empty_entity_rows_are_told_in_a_sentence(stores: Any, rows: Any, message: str) -> None:
    refs = ["social:author_ratio_1h", "order_flow:vpin"]
    with pytest.raises(UserError, match=message):
        stores.ours.get_online_features(refs, rows)

    async def later() -> None:
        try:
            await stores.ours.get_online_features_async(refs, rows)
        finally:
            await stores.online.close()

    with pytest.raises(ValueError, match=message):
        asyncio.run(later())


@pytest.mark.parametrize(
    ("entities", "message"), [({"symbol": ["A", None]}, NULL_KEY), ({}, NO_ROWS), ({"symbol": []}, NO_ROWS)]
)
def test_the_feature_server_answers_422_to_a_null_entity_key_and_to_no_entities(
    stores: Any, entities: Any, message: str
) -> None:
    status, answer = serve(stores, {"features": ["social:author_ratio_1h"], "entities": entities})
    assert status == 422
    assert message in answer


def test_a_null_entity_key_is_not_written(stores: Any, redis_client: redis.Redis) -> None:
    table = stores.ours.get_feature_view("social")
    row = [(EntityKey(join_keys=["symbol"], entity_values=[Value()]), {}, T, None)]
    with pytest.raises(UserError, match=NULL_KEY):
        stores.online.online_write_batch(stores.ours.config, table, row, None)
    assert redis_client.dbsize() == 0


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


def test_the_asynchronous_read_equals_the_blocking_one_on_one_loop_after_another(filled: Any) -> None:
    service = filled.ours.get_feature_service("signal_v1")

    async def read() -> Any:
        response = await filled.ours.get_online_features_async(service, rows_of(*SYMBOLS))
        await filled.online.close()
        return response

    expected = filled.read("ours", "signal_v1", rows_of(*SYMBOLS))
    assert filled.columns(asyncio.run(read())) == filled.columns(expected)
    assert filled.columns(asyncio.run(read())) == filled.columns(expected)


def test_online_read_tells_absent_stale_and_present_apart(stores: Any, redis_client: redis.Redis) -> None:
    writer = OnlineWriter(redis_client, stores.project, SOCIAL)
    times = np.array([stores.now_us, stores.now_us - 3_600_000_001])
    writer.write(["NEW", "OLD"], times, np.full((2, 8), 2.0))
    table, config = stores.ours.get_feature_view("social"), stores.ours.config
    keys = [entity(s) for s in ("NEW", "OLD", "NOBODY")]
    wanted = ["author_ratio_1h", "social_volume_5m"]
    new, old, nobody = stores.online.online_read(config, table, keys, wanted)
    assert new[1] == {"author_ratio_1h": Value(double_val=2.0), "social_volume_5m": Value(int64_val=2)}
    assert old[1] == {"author_ratio_1h": Value(), "social_volume_5m": Value()}
    assert nobody == (None, None)
    assert wanted == ["author_ratio_1h", "social_volume_5m"]

    async def read() -> Any:
        rows = await stores.online.online_read_async(config, table, keys, wanted)
        await stores.online.close()
        return rows

    assert asyncio.run(read()) == [new, old, nobody]


def test_the_feature_server_works_unchanged(filled: Any) -> None:
    status, answer = serve(filled, {"feature_service": "signal_v1", "entities": {"symbol": [SYMBOLS[0], "NOBODY"]}})
    assert status == 200
    place = answer["metadata"]["feature_names"].index("ofi_1s")
    expected = filled.read("stock", ["microstructure:ofi_1s"], rows_of(SYMBOLS[0])).to_dict()["ofi_1s"]
    assert answer["results"][place]["values"] == [expected[0], None]
    assert answer["results"][place]["statuses"] == ["PRESENT", "NOT_FOUND"]


def test_a_wrong_password_fails_at_once_and_is_not_shown(
    stores: Any, servers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redis.retry.sleep", lambda _: pytest.fail("a wrong password is not tried again"))
    store = RedisOnlineStore()
    config = Config(settings(connection_string=str(address_of_url(servers.redis_url)), password="hunter2"))
    with pytest.raises(AuthenticationError) as failure:
        store.online_read(config, stores.ours.get_feature_view("social"), [EntityKey()])
    assert "hunter2" not in str(failure.value)


def test_a_store_whose_server_is_away_says_so_and_works_again_when_it_is_back(stores: Any, own: Servers) -> None:
    port = own.start(free_port(), "--appendonly", "yes", "--appendfsync", "always")
    store, config = RedisOnlineStore(), Config(settings(url=f"redis://127.0.0.1:{port}", retries=1))
    assert write_and_read(store, config, stores, 1.0) == [1.0] * 5
    own.kill(port)
    with pytest.raises(OnlineStoreUnavailableError, match=f"Redis at 127.0.0.1:{port} did not answer in 2 attempts"):
        write_and_read(store, config, stores, 2.0)
    with pytest.raises(OnlineStoreUnavailableError):
        on_a_loop(store, lambda: store.online_read_async(config, stores.ours.get_feature_view("social"), [EntityKey()]))
    own.start(port, "--appendonly", "yes", "--appendfsync", "always")
    assert write_and_read(store, config, stores, 2.0) == [2.0] * 5
