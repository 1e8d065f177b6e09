"""Reads of the online store: equal to Feast's own wherever that is right, and never stale."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import redis
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.stores.online.format import decode_time, encode_time
from feature_repo.stores.online.response import _vectors
from feature_repo.stores.online.write import OnlineWriter
from transforms.catalog import SOCIAL, VIEW, VIEWS
from transforms.times import datetime_of_us

SYMBOLS = [f"SYM{i}USDT" for i in range(60)]


@pytest.fixture
def filled(stores: Any, redis_client: redis.Redis) -> Any:
    """Every view of the catalogue for 60 symbols, rows a microsecond old, one value in eight null, some columns whole."""
    rng = np.random.default_rng(7)
    for view in VIEWS:
        values = rng.normal(size=(len(SYMBOLS), len(view.names)))
        for i, feature in enumerate(view.features):
            if feature.dtype == "Int64":
                values[:, i] = rng.integers(-5, 1_000_000, len(SYMBOLS))
        values[:, ::2][rng.random(values[:, ::2].shape) < 0.25] = np.nan
        values[:, 2] = np.nan
        OnlineWriter(redis_client, stores.project, view).write(SYMBOLS, np.full(60, stores.now_us - 1), values)
    return stores


def rows_of(*symbols: str) -> list[dict[str, str]]:
    return [{"symbol": s} for s in symbols]


def both(stores: Any, *args: Any, **options: Any) -> tuple[Any, Any]:
    return stores.read("ours", *args, **options), stores.read("stock", *args, **options)


@pytest.mark.parametrize("full_feature_names", [False, True])
@pytest.mark.parametrize("symbols", [SYMBOLS[:1], SYMBOLS[:50], [SYMBOLS[3], SYMBOLS[1], SYMBOLS[3], SYMBOLS[3]]])
def test_a_fresh_read_equals_the_stock_read_in_every_form(
    filled: Any, symbols: list[str], full_feature_names: bool
) -> None:
    ours, stock = both(filled, "signal_v1", rows_of(*symbols), full_feature_names=full_feature_names)
    assert filled.columns(ours) == filled.columns(stock)
    assert ours.proto.metadata == stock.proto.metadata
    assert ours.to_dict(include_event_timestamps=True) == stock.to_dict(include_event_timestamps=True)
    assert {type(v) for c in ours.to_dict().values() for v in c} == {str, float, int, type(None)}
    assert ours.to_df().equals(stock.to_df())
    assert ours.to_arrow().equals(stock.to_arrow())
    assert len(ours.to_dict()) == 1 + sum(len(v.names) for v in VIEWS)


def test_the_asynchronous_read_equals_the_blocking_one_on_one_loop_after_another(filled: Any) -> None:
    service = filled.ours.get_feature_service("signal_v1")

    async def read() -> Any:
        response = await filled.ours.get_online_features_async(service, rows_of(*SYMBOLS))
        await filled.online.close()
        return response

    expected = filled.read("ours", "signal_v1", rows_of(*SYMBOLS))
    assert filled.columns(asyncio.run(read())) == filled.columns(expected)
    assert filled.columns(asyncio.run(read())) == filled.columns(expected)


def test_an_absent_entity_is_not_found_and_null_without_a_time(filled: Any) -> None:
    response = filled.read("ours", "signal_v1", rows_of(SYMBOLS[0], "NOBODY"))
    for name, column in filled.columns(response).items():
        if name == "symbol":
            continue
        assert list(column.statuses) == [FieldStatus.PRESENT, FieldStatus.NOT_FOUND]
        assert column.values[1].WhichOneof("val") is None
        assert column.event_timestamps[1] == Timestamp()
    assert response.to_dict()["vpin"][1] is None


def test_a_symbol_of_which_one_view_was_never_written_is_not_found_in_that_view_only(
    stores: Any, redis_client: redis.Redis
) -> None:
    values = np.arange(8.0)[None]
    OnlineWriter(redis_client, stores.project, SOCIAL).write(["A"], np.array([stores.now_us]), values)
    read = stores.columns(stores.read("ours", ["social:author_ratio_1h", "order_flow:vpin"], rows_of("A")))
    assert list(read["author_ratio_1h"].statuses) == [FieldStatus.PRESENT]
    assert read["author_ratio_1h"].values[0].double_val == 6.0
    assert list(read["vpin"].statuses) == [FieldStatus.NOT_FOUND]


def test_a_feed_that_stops_is_outside_max_age_within_its_ttl_and_a_second_while_other_views_stay(filled: Any) -> None:
    book = VIEW["microstructure"]
    filled.clock.now_us = filled.now_us - 1 + book.ttl_s * 1_000_000
    at_ttl = filled.columns(filled.read("ours", "signal_v1", rows_of(*SYMBOLS)))
    assert set(at_ttl["spread"].statuses) == {FieldStatus.PRESENT}

    filled.clock.now_us += 1
    response = filled.read("ours", "signal_v1", rows_of(*SYMBOLS))
    past = filled.columns(response)
    for view in VIEWS:
        expected = FieldStatus.OUTSIDE_MAX_AGE if view is book else FieldStatus.PRESENT
        for name in view.names:
            assert set(past[name].statuses) == {expected}
    for name in book.names:
        assert {v.WhichOneof("val") for v in past[name].values} == {None}
        assert response.to_dict()[name] == [None] * 60
        assert past[name].event_timestamps == at_ttl[name].event_timestamps  # how old it is can be told
    assert past["vpin"] == at_ttl["vpin"]


def test_one_stale_symbol_does_not_touch_the_others(filled: Any, redis_client: redis.Redis) -> None:
    writer = OnlineWriter(redis_client, filled.project, VIEW["microstructure"])
    filled.clock.now_us = filled.now_us + 11_000_000
    fresh = np.full((1, len(VIEW["microstructure"].names)), 0.5)
    fresh[0, -1] = 1.0
    writer.write([SYMBOLS[1]], np.array([filled.clock.now_us]), fresh)
    read = filled.read("ours", ["microstructure:spread", "microstructure:book_valid"], rows_of(*SYMBOLS[:3]))
    assert read.to_dict()["spread"] == [None, 0.5, None]
    assert read.to_dict()["book_valid"] == [None, 1, None]
    assert list(filled.columns(read)["spread"].statuses) == [
        FieldStatus.OUTSIDE_MAX_AGE,
        FieldStatus.PRESENT,
        FieldStatus.OUTSIDE_MAX_AGE,
    ]


def test_a_read_that_does_not_enforce_ttl_equals_stock_at_any_age(filled: Any) -> None:
    filled.clock.now_us += 10**15
    filled.ours.config.online_store.enforce_ttl = False
    ours, stock = both(filled, "signal_v1", rows_of(*SYMBOLS))
    assert filled.columns(ours) == filled.columns(stock)


def test_a_value_from_the_future_is_present(filled: Any) -> None:
    filled.clock.now_us = filled.now_us - 3_600_000_000
    read = filled.columns(filled.read("ours", ["microstructure:spread"], rows_of(SYMBOLS[0])))
    assert list(read["spread"].statuses) == [FieldStatus.PRESENT]


def test_event_times_come_back_to_the_microsecond(stores: Any, redis_client: redis.Redis) -> None:
    writer = OnlineWriter(redis_client, stores.project, SOCIAL)
    times = np.array([stores.now_us, 1_700_000_000_000_001, 1_699_999_999_999_999])
    stores.clock.now_us = stores.now_us
    writer.write(["A", "B", "C"], times, np.zeros((3, 8)))
    read = stores.columns(stores.read("ours", ["social:author_ratio_1h"], rows_of("A", "B", "C")))
    assert [t.ToMicroseconds() for t in read["author_ratio_1h"].event_timestamps] == times.tolist()
    table = stores.ours.get_feature_view("social")
    key = EntityKey(join_keys=["symbol"], entity_values=[Value(string_val="B")])
    ((event, _),) = stores.online.online_read(stores.ours.config, table, [key])
    assert event == datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=UTC)


def test_online_read_tells_absent_stale_and_present_apart(stores: Any, redis_client: redis.Redis) -> None:
    writer = OnlineWriter(redis_client, stores.project, SOCIAL)
    times = np.array([stores.now_us, stores.now_us - 3_600_000_001])
    writer.write(["NEW", "OLD"], times, np.full((2, 8), 2.0))
    table, config = stores.ours.get_feature_view("social"), stores.ours.config
    keys = [EntityKey(join_keys=["symbol"], entity_values=[Value(string_val=s)]) for s in ("NEW", "OLD", "NOBODY")]
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


@pytest.mark.parametrize("service", ["with_demand", "renamed"])
def test_on_demand_and_renamed_views_equal_stock(filled: Any, service: str) -> None:
    for full_feature_names in (True, False):
        ours, stock = both(filled, service, rows_of(*SYMBOLS), full_feature_names=full_feature_names)
        assert filled.columns(ours) == filled.columns(stock)
        assert ours.to_dict() == stock.to_dict()
    if service == "with_demand":
        data = ours.to_dict()
        pairs = zip(data["spread"], data["half_spread"], strict=True)
        assert all(half is None if spread is None else half == spread / 2 for spread, half in pairs)


def test_views_of_different_join_keys_are_read_together(filled: Any) -> None:
    rows = [{"symbol": a, "hedge": b} for a, b in zip(SYMBOLS[:9], reversed(SYMBOLS[:9]), strict=True)]
    ours, stock = both(filled, "of_the_pair", rows)
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
        ours, stock = both(stores, features, entity_rows)
        assert ours.to_dict() == stock.to_dict()
        assert ours.to_dict()[features[0].partition(":")[2]] == expected
        assert (
            stores.columns(ours)["tier" if "fees:tier" in features else "leverage"].statuses[1] == FieldStatus.NOT_FOUND
        )


@pytest.mark.parametrize("kind", ["string_val", "double_val"])
def test_a_column_of_other_values_as_long_as_doubles_is_not_taken_for_doubles(stores: Any, kind: str) -> None:
    """Text of seven characters is nine bytes long, as a double is."""
    table, event = stores.ours.get_feature_view("every_type"), datetime(2023, 11, 14, tzinfo=UTC)
    values = [Value(**{kind: f"text {i:02}" if kind == "string_val" else i / 3}) for i in range(20)]
    keys = [EntityKey(join_keys=["symbol"], entity_values=[Value(string_val=f"S{i}")]) for i in range(20)]
    rows = [(k, {"a_text": v, "a_double": v}, event, None) for k, v in zip(keys, values, strict=True)]
    stores.online.online_write_batch(stores.ours.config, table, rows, None)
    features, wanted = ["every_type:a_text", "every_type:a_double"], rows_of(*(f"S{i}" for i in range(20)))
    ours, stock = both(stores, features, wanted)
    assert ours.to_dict() == stock.to_dict()
    assert ours.to_dict()["a_text"] == [getattr(v, kind) for v in values]


def test_a_row_without_its_join_key_fails_as_in_stock(filled: Any) -> None:
    for which in ("ours", "stock"):
        with pytest.raises(KeyError, match="Missing join key values for keys"):
            filled.read(which, ["social:author_ratio_1h"], [{"account": 1}])


def test_the_feature_server_works_unchanged(filled: Any) -> None:
    from feast.feature_server import get_app

    body = {"feature_service": "signal_v1", "entities": {"symbol": [SYMBOLS[0], "NOBODY"]}}
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    async def serve() -> None:
        app = get_app(filled.ours)
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/get-online-features",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "app": app,
        }
        await app(scope, receive, send)
        await filled.online.close()

    asyncio.run(serve())
    assert messages[0]["status"] == 200
    answer = json.loads(b"".join(m.get("body", b"") for m in messages))
    place = answer["metadata"]["feature_names"].index("ofi_1s")
    expected = filled.read("stock", ["microstructure:ofi_1s"], rows_of(SYMBOLS[0])).to_dict()["ofi_1s"]
    assert answer["results"][place]["values"] == [expected[0], None]
    assert answer["results"][place]["statuses"] == ["PRESENT", "NOT_FOUND"]


values = st.one_of(
    st.just(b""),
    st.none(),
    st.floats(allow_nan=False).map(lambda x: Value(double_val=x).SerializeToString()),
    st.integers(-(2**63), 2**63 - 1).map(lambda x: Value(int64_val=x).SerializeToString()),
    st.text(max_size=200).map(lambda x: Value(string_val=x).SerializeToString()),
)


@given(data=st.data(), n_rows=st.integers(1, 5), n_columns=st.integers(1, 4))
def test_joined_bytes_are_the_message_that_feast_would_build(data: Any, n_rows: int, n_columns: int) -> None:
    columns = [data.draw(st.lists(values, min_size=n_rows, max_size=n_rows)) for _ in range(n_columns)]
    expected = GetOnlineFeaturesResponse()
    for column in columns:
        vector = expected.results.add(statuses=[FieldStatus.PRESENT] * n_rows)
        vector.values.extend(Value.FromString(v or b"") for v in column)
        vector.event_timestamps.extend(Timestamp(seconds=1) for _ in column)
    tail = b"\x12" + bytes([n_rows]) + b"\x01" * n_rows + b"\x1a\x02\x08\x01" * n_rows
    assert GetOnlineFeaturesResponse.FromString(b"".join(_vectors(columns, tail))) == expected


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_event_times_are_encoded_as_protobuf_does_and_decoded_back(event_us: int) -> None:
    expected = Timestamp()
    expected.FromDatetime(datetime_of_us(event_us))
    assert encode_time(event_us) == expected.SerializeToString()
    assert decode_time(encode_time(event_us)) == event_us
