"""Responses of the online store: equal to Feast's own wherever that is right, and never stale."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import redis
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from feature_repo.stores.online.response import FeatureTypes, NotNumericError
from feature_repo.stores.online.write import OnlineWriter
from tests.feature_repo.stores.feast_rows import SYMBOLS, TOGETHER, entity, rows_of
from transforms.catalog import SOCIAL, VIEW
from transforms.times import datetime_of_us


@pytest.mark.parametrize("full_feature_names", [False, True])
@pytest.mark.parametrize("symbols", [SYMBOLS[:1], SYMBOLS[:50], [SYMBOLS[3], SYMBOLS[1], SYMBOLS[3], SYMBOLS[3]]])
def test_a_fresh_read_equals_the_stock_read_in_every_form(
    filled: Any, symbols: list[str], full_feature_names: bool
) -> None:
    ours, stock = filled.both("signal_v1", rows_of(*symbols), full_feature_names=full_feature_names)
    assert filled.columns(ours) == filled.columns(stock)
    assert ours.to_dict(include_event_timestamps=True) == stock.to_dict(include_event_timestamps=True)
    assert {type(v) for c in ours.to_dict().values() for v in c} == {str, float, int, type(None)}
    names = list(ours.to_dict())  # stock's own order is another in each process
    assert ours.to_df().equals(stock.to_df()[names])
    assert ours.to_arrow().equals(stock.to_arrow().select(names))
    assert len(names) == 1 + sum(len(v.names) for v in TOGETHER)


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
    for view in TOGETHER:
        expected = FieldStatus.OUTSIDE_MAX_AGE if view.ttl_s <= book.ttl_s else FieldStatus.PRESENT
        for name in view.names:
            assert set(past[name].statuses) == {expected}
    for name in book.names:
        assert {v.WhichOneof("val") for v in past[name].values} == {None}
        assert response.to_dict()[name] == [None] * 60
        assert past[name].event_timestamps == at_ttl[name].event_timestamps  # the age is still known
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
    ours, stock = filled.both("signal_v1", rows_of(*SYMBOLS))
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
    key = entity("B")
    ((event, _),) = stores.online.online_read(stores.ours.config, table, [key])
    assert event == datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=UTC)


@pytest.mark.parametrize("service", ["with_demand", "renamed"])
def test_on_demand_and_renamed_views_equal_stock(filled: Any, service: str) -> None:
    for full_feature_names in (True, False):
        ours, stock = filled.both(service, rows_of(*SYMBOLS), full_feature_names=full_feature_names)
        assert filled.columns(ours) == filled.columns(stock)
        assert ours.to_dict() == stock.to_dict()
    if service == "with_demand":
        data = ours.to_dict()
        pairs = zip(data["spread"], data["half_spread"], strict=True)
        assert all(half is None if spread is None else half == spread / 2 for spread, half in pairs)


@pytest.mark.parametrize(("silent_us", "late"), [(0, False), (2_000, False), (3_000, True)])
def test_the_age_of_a_value_counts_from_the_last_message_of_its_feed(
    stores: Any, redis_client: redis.Redis, silent_us: int, late: bool
) -> None:
    ttl_us = SOCIAL.ttl_s * 1_000_000
    event_us = stores.now_us - ttl_us + 2_000
    silence = np.array([silent_us])
    OnlineWriter(redis_client, stores.project, SOCIAL).write(["A"], np.array([event_us]), np.ones((1, 8)), silence)
    read = stores.columns(stores.read("ours", ["social:author_ratio_1h"], rows_of("A")))["author_ratio_1h"]
    assert list(read.statuses) == [FieldStatus.OUTSIDE_MAX_AGE if late else FieldStatus.PRESENT]
    assert read.event_timestamps[0].ToMicroseconds() == event_us
    table = stores.ours.get_feature_view("social")
    ((event, found),) = stores.online.online_read(stores.ours.config, table, [entity("A")], ["author_ratio_1h"])
    assert event == datetime_of_us(event_us)
    assert found == {"author_ratio_1h": Value() if late else Value(double_val=1.0)}


@pytest.mark.parametrize("kind", ["string_val", "double_val"])
def test_a_column_of_other_values_as_long_as_doubles_is_not_taken_for_doubles(stores: Any, kind: str) -> None:
    """Text of seven characters is nine bytes long, as a double is."""
    table, event = stores.ours.get_feature_view("every_type"), datetime(2023, 11, 14, tzinfo=UTC)
    values = [Value(**{kind: f"text {i:02}" if kind == "string_val" else i / 3}) for i in range(20)]
    keys = [entity(f"S{i}") for i in range(20)]
    rows = [(k, {"a_text": v, "a_double": v}, event, None) for k, v in zip(keys, values, strict=True)]
    stores.online.online_write_batch(stores.ours.config, table, rows, None)
    features, wanted = ["every_type:a_text", "every_type:a_double"], rows_of(*(f"S{i}" for i in range(20)))
    ours, stock = stores.both(features, wanted)
    assert ours.to_dict() == stock.to_dict()
    assert ours.to_dict()["a_text"] == [getattr(v, kind) for v in values]


def test_the_types_are_made_at_the_first_feature_that_needs_one_and_once() -> None:
    made: list[int] = []

    def make() -> dict[str, str]:
        made.append(1)
        return {"price": "double", "book__price": "double"}

    types = FeatureTypes(make, ["price"])
    assert bool(types)  # Feast replaces a map that is false
    assert types.get("symbol") is None
    assert made == []
    assert [types.get(name) for name in ("price", "book__price", "book__other")] == ["double", "double", None]
    assert made == [1]


def test_numbers_come_as_one_array_in_the_order_of_the_service_or_of_the_names_given(filled: Any) -> None:
    for service in ("signal_v1", "with_demand"):  # what is computed on demand is answered by Feast
        response = filled.read("ours", service, rows_of(*SYMBOLS[:20]))
        frame, array = filled.read("stock", service, rows_of(*SYMBOLS[:20])).to_df(), response.to_numpy()
        names = [name for name in response.to_dict() if name != "symbol"]
        assert array.dtype == np.float64 and array.shape == (20, len(names))
        assert array.flags.c_contiguous
        assert array.tobytes() == frame[names].to_numpy(float, na_value=np.nan).tobytes()
        some = ["spread", "mid_price"]
        np.testing.assert_array_equal(response.to_numpy(some), frame[some].to_numpy(float))
        with pytest.raises(KeyError, match="nothing"):
            response.to_numpy(["spread", "nothing"])


def test_the_numbers_of_many_views_are_those_of_the_message_that_is_made_for_those_who_ask(filled: Any) -> None:
    response = filled.read("ours", "signal_v1", rows_of(*SYMBOLS))
    numbers = response.to_numpy()
    response.to_numpy()[:] = 0.0  # the caller's own
    assert "proto" not in vars(response)
    made = filled.columns(response)
    for name, column in zip(list(made)[1:], numbers.T, strict=True):
        for value, number in zip(made[name].values, column.tolist(), strict=True):
            kind = value.WhichOneof("val")
            assert np.isnan(number) if kind is None else getattr(value, kind) == number


def test_a_text_is_no_number_and_the_error_names_the_feature(stores: Any) -> None:
    table, event = stores.ours.get_feature_view("every_type"), datetime_of_us(stores.now_us)
    values = {"a_text": Value(string_val="1.5"), "a_bool": Value(bool_val=True), "a_single": Value(float_val=0.5)}
    stores.online.online_write_batch(stores.ours.config, table, [(entity("A"), values, event, None)], None)
    response = stores.read("ours", [f"every_type:{name}" for name in (*values, "a_long")], rows_of("A", "B"))
    numbers = response.to_numpy(["a_bool", "a_single", "a_long"])
    np.testing.assert_array_equal(numbers, [[1.0, 0.5, np.nan], [np.nan] * 3])
    with pytest.raises(NotNumericError, match="feature a_text is no number"):
        response.to_numpy()
