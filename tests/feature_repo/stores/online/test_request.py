"""Which hashes and fields a request names, and how they are read in one round trip."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, String

from feature_repo.stores.online.format import SymbolKeys, feature_field, time_field
from feature_repo.stores.online.from_feast import EntityRowsError
from feature_repo.stores.online.record import layout_of
from feature_repo.stores.online.request import plan, plan_view
from feature_repo.stores.online.shape import Asked, Fields
from feature_repo.stores.redis import RedisOnlineStore
from tests.feature_repo.stores.feast_rows import (
    SYMBOLS,
    Config,
    entity,
    key_of,
    on_a_loop,
    rows_of,
    settings,
    write_and_read,
)


def test_views_of_different_join_keys_are_read_together(filled: Any) -> None:
    rows = [{"symbol": a, "hedge": b} for a, b in zip(SYMBOLS[:9], reversed(SYMBOLS[:9]), strict=True)]
    ours, stock = filled.both("of_the_pair", rows)
    assert filled.columns(ours) == filled.columns(stock)


def test_keys_of_two_columns_and_of_numbers_equal_stock(stores: Any) -> None:
    event = datetime(2023, 11, 14, 22, 13, 20, 5, tzinfo=UTC)
    for name, keys, values in (
        (
            "fees",
            {"venue": Value(string_val="X"), "symbol": Value(string_val="A")},
            {"maker_bps": Value(double_val=1.5)},
        ),
        ("limits", {"account": Value(int64_val=-7)}, {"leverage": Value(double_val=3.0)}),
    ):
        table = stores.ours.get_feature_view(name)
        key = EntityKey(join_keys=list(keys), entity_values=list(keys.values()))
        stores.online.online_write_batch(stores.ours.config, table, [(key, values, event, None)], None)
    rows = [{"symbol": "A", "venue": "X"}, {"symbol": "A", "venue": "Y"}, {"symbol": "A", "venue": "X"}]
    for features, entity_rows, expected in (
        (["fees:maker_bps", "fees:tier"], rows, [1.5, None, 1.5]),
        (["limits:leverage"], [{"account": -7}, {"account": 7}, {"account": -7}], [3.0, None, 3.0]),
    ):
        ours, stock = stores.both(features, entity_rows)
        assert ours.to_dict() == stock.to_dict()
        assert ours.to_dict()[features[0].partition(":")[2]] == expected
        assert (
            stores.columns(ours)["tier" if "fees:tier" in features else "leverage"].statuses[1] == FieldStatus.NOT_FOUND
        )


@pytest.mark.parametrize(
    ("refs", "row", "message"),
    [
        (["social:author_ratio_1h"], {"account": 1}, "entity_rows have no value of symbol, a join key of social"),
        (["fees:tier"], {"symbol": "A"}, "entity_rows have no value of venue, a join key of fees"),
    ],
)
def test_a_row_without_a_join_key_is_refused_with_its_name(
    filled: Any, refs: list[str], row: dict[str, Any], message: str
) -> None:
    with pytest.raises(KeyError) as failure:  # as in Feast
        filled.read("ours", refs, [row])
    assert isinstance(failure.value, EntityRowsError)
    assert str(failure.value) == message


def view(name: str, dtype: Any, *features: str, **options: Any) -> Any:
    fields = [SimpleNamespace(name=feature, dtype=dtype) for feature in features]
    projection = SimpleNamespace(join_key_map={})
    return SimpleNamespace(name=name, features=fields, entities=["symbol"], projection=projection, **options)


def test_a_request_for_a_view_of_numbers_names_its_time_and_one_for_another_each_feature_then_the_time() -> None:
    table = view("v", Float64, "a", "b", ttl=timedelta(seconds=1.5))
    request = plan_view(Config(None), table, [entity("X"), entity("Y")], ["b"])
    assert request.keys == [key_of("X"), key_of("Y")]
    assert request.order is None
    assert request.shape.fields == Fields((b"_ts:v",), b"$5\r\n_ts:v\r\n")
    layout = layout_of(("a", "b"), ("Float64", "Float64"))
    assert request.shape.asked == (Asked("v", ("b",), layout, 1_500_000),)
    assert request.views == [table]
    texts = plan_view(Config(None), view("v", String, "a", "b"), [], None)
    names = (feature_field("v", "a"), feature_field("v", "b"), time_field("v"))
    assert texts.shape.fields == Fields(names, b"".join(b"$%d\r\n%b\r\n" % (len(n), n) for n in names))
    assert texts.shape.asked == (Asked("v", ("a", "b"), None, 0),)


def test_a_symbol_that_is_asked_for_twice_is_read_once(filled: Any) -> None:
    tables = [filled.ours.get_feature_view(name) for name in ("social", "sentiment")]
    refs = [(table, [table.features[0].name]) for table in tables]
    symbols = {"symbol": [Value(string_val=s) for s in ("B", "A", "B", "B")]}
    (request,) = plan(filled.ours.config, refs, symbols, {"symbol": "symbol"})
    assert request.keys == [key_of("B"), key_of("A")]
    assert request.order == [0, 1, 0, 0]
    assert request.shape.fields.names == (time_field("social"), time_field("sentiment"))


def test_all_views_of_fifty_symbols_are_read_in_one_round_trip_of_fifty_commands(
    filled: Any, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.read("ours", "signal_v1", rows_of(*SYMBOLS[:50]))
    sent: list[int] = []
    send = redis.Connection.send_packed_command
    monkeypatch.setattr(
        redis.Connection, "send_packed_command", lambda self, *a, **k: (sent.append(1), send(self, *a, **k))[1]
    )
    redis_client.config_resetstat()
    sent.clear()
    filled.read("ours", "signal_v1", rows_of(*SYMBOLS[:50]))
    assert len(sent) == 1
    assert redis_client.info("commandstats")["cmdstat_hmget"]["calls"] == 50


def test_a_reader_that_was_interrupted_leaves_no_reply_to_the_next(stores: Any, servers: Any) -> None:
    """A value of another type makes one command of a request fail; the replies after it must not be read later."""
    store, config = RedisOnlineStore(), Config(settings(url=servers.redis_url))
    assert write_and_read(store, config, stores, 1.0) == [1.0] * 5
    with redis.Redis.from_url(servers.redis_url) as client:
        client.set(SymbolKeys("trading", "symbol").keys(["BROKEN"])[0], "text")
    table = stores.ours.get_feature_view("social")
    keys = [entity(s) for s in ("BROKEN", "S0", "S1")]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        store.online_read(config, table, keys, ["author_ratio_1h"])
    ((_, found),) = store.online_read(config, table, keys[1:2], ["author_ratio_1h"])
    assert found == {"author_ratio_1h": Value(double_val=1.0)}

    async def interrupted() -> Any:
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            await store.online_read_async(config, table, keys, ["author_ratio_1h"])
        return await store.online_read_async(config, table, keys[1:2], ["author_ratio_1h"])

    ((_, found),) = on_a_loop(store, interrupted)
    assert found == {"author_ratio_1h": Value(double_val=1.0)}
