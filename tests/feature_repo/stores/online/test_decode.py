"""Reads of rows with a record, without one, with one of other columns, and of no row, side by side."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
import redis
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.stores.online import decode, shape
from feature_repo.stores.online.decode import UnreadableRowError
from feature_repo.stores.online.format import encode_time, feature_field, time_field, varint
from feature_repo.stores.online.write import OnlineWriter
from tests.feature_repo.stores.feast_rows import SYMBOLS, TOGETHER, entity, key_of, rows_of, without_records
from transforms.catalog import SOCIAL, View
from transforms.times import datetime_of_us

NAMES = list(SOCIAL.names)
REFS = [f"social:{name}" for name in NAMES]
OTHER = View(
    "social", SOCIAL.feed, SOCIAL.ttl_s, "With one feature less, and the rest turned round.", SOCIAL.features[:0:-1]
)


def in_every_form(response: Any) -> dict[str, Any]:
    """What a caller may take out of a response."""
    names = list(response.to_dict())
    return {
        "dict": response.to_dict(include_event_timestamps=True),
        "frame": response.to_df(),
        "arrow": response.to_arrow(),
        "proto": dict(zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True)),
        "names": names,
    }


def test_the_numbers_of_statuses_are_those_of_feast() -> None:
    for name in ("PRESENT", "NOT_FOUND", "OUTSIDE_MAX_AGE"):
        assert getattr(shape, name) == getattr(FieldStatus, name)


@pytest.mark.parametrize("way", ["blocking", "on a loop"])
@pytest.mark.parametrize("plain", [SYMBOLS, SYMBOLS[::2]], ids=["all plain", "mixed"])
def test_rows_without_records_are_read_as_those_with_them(
    filled: Any, redis_client: redis.Redis, plain: list[str], way: str
) -> None:
    refs = [f"{view.name}:{name}" for view in reversed(TOGETHER) for name in view.names]
    rows = rows_of(*SYMBOLS[:6], "NOBODY", SYMBOLS[1])

    async def later() -> Any:
        try:
            return await filled.ours.get_online_features_async(refs, rows)
        finally:
            await filled.online.close()

    for now_us in (filled.now_us, filled.now_us + 11_000_000):  # then the views of the book are too old
        filled.clock.now_us = now_us
        expected = in_every_form(filled.read("ours", refs, rows))
        bits = filled.read("ours", refs, rows).to_numpy()
        without_records(redis_client, plain)
        read = filled.read("ours", refs, rows) if way == "blocking" else asyncio.run(later())
        found = in_every_form(read)
        pd.testing.assert_frame_equal(found.pop("frame"), expected.pop("frame"), check_exact=True)
        assert found.pop("arrow").equals(expected.pop("arrow"))
        assert found == expected
        assert read.to_numpy().tobytes() == bits.tobytes()
    assert expected["proto"]["spread"].statuses[:1] == [FieldStatus.OUTSIDE_MAX_AGE]


@pytest.mark.parametrize("skip_dedup", [False, True])
def test_the_newest_of_stock_and_of_ours_is_read_whoever_wrote_last(stores: Any, skip_dedup: bool) -> None:
    ours, stock = stores.online, stores.stock._get_provider().online_store

    def write(store: Any, which: str, value: float, t_us: int) -> None:
        of = getattr(stores, which)
        given = {name: Value(double_val=value) for name in NAMES}
        given |= {f.name: Value(int64_val=int(value)) for f in SOCIAL.features if f.dtype == "Int64"}
        row = [(entity("A"), given, datetime_of_us(t_us), None)]
        store.online_write_batch(of.config, of.get_feature_view("social"), row, None)

    def read() -> set[Any]:
        found, expected = stores.both(REFS, rows_of("A"))
        assert found.to_dict(include_event_timestamps=True) == expected.to_dict(include_event_timestamps=True)
        return {value for name, (value,) in found.to_dict().items() if name != "symbol"}

    t_us = stores.now_us - 9
    write(ours, "ours", 1.0, t_us)
    assert read() == {1.0}
    write(stock, "stock", 2.0, t_us + 1)
    assert read() == {2.0}
    write(ours, "ours", 3.0, t_us)  # older
    assert read() == {2.0}
    write(ours, "ours", 4.0, t_us + 2)
    assert read() == {4.0}
    if skip_dedup:  # stock's own option, by which a row of the same time replaces the one that is there
        stores.stock.config.online_store.skip_dedup = True
        try:
            write(stock, "stock", 5.0, t_us + 2)
        finally:
            stores.stock.config.online_store.skip_dedup = False
        assert read() == {5.0}


def test_some_features_of_a_row_written_through_feast_join_those_that_are_there(stores: Any) -> None:
    table, config = stores.ours.get_feature_view("social"), stores.ours.config

    def write(t_us: int, **values: Value) -> None:
        stores.online.online_write_batch(config, table, [(entity("A"), values, datetime_of_us(t_us), None)], None)

    write(stores.now_us - 2, **{name: Value(double_val=1.0) for name in NAMES})
    write(stores.now_us - 1, author_ratio_1h=Value(double_val=2.0))
    ours, stock = stores.both(REFS, rows_of("A"))
    assert ours.to_dict(include_event_timestamps=True) == stock.to_dict(include_event_timestamps=True)
    assert ours.to_dict()["author_ratio_1h"] == [2.0]
    assert ours.to_dict()["social_volume_z"] == [1.0]


def test_what_no_double_says_exactly_comes_back_as_it_was_written(stores: Any, redis_client: redis.Redis) -> None:
    given = dict.fromkeys(NAMES, Value(double_val=1.5))
    given |= {"author_ratio_1h": Value(double_val=np.nan), "unique_authors_1h": Value(int64_val=2**63 - 1)}
    table, event = stores.ours.get_feature_view("social"), datetime_of_us(stores.now_us)
    stores.online.online_write_batch(stores.ours.config, table, [(entity("A"), given, event, None)], None)
    OnlineWriter(redis_client, stores.project, SOCIAL).write(["B"], np.array([stores.now_us]), np.ones((1, 8)))
    ours, stock = stores.both(REFS, rows_of("A", "B", "NOBODY"))
    for name, column in stores.columns(ours).items():
        assert str(list(column.values)) == str(list(stores.columns(stock)[name].values))
    assert ours.to_dict()["unique_authors_1h"] == stock.to_dict()["unique_authors_1h"] == [2**63 - 1, 1, None]
    assert str(ours.to_df().to_dict()) == str(stock.to_df()[list(ours.to_dict())].to_dict())
    assert ours.to_numpy(["unique_authors_1h", "social_volume_z"]).tolist()[:2] == [[2.0**63, 1.5], [1.0, 1.0]]
    stores.clock.now_us += SOCIAL.ttl_s * 1_000_000 + 1
    late = stores.read("ours", REFS, rows_of("A", "B"))
    assert late.to_dict()["unique_authors_1h"] == [None, None]


def test_a_record_of_another_catalogue_is_told_by_its_header_and_its_row_read_by_feasts_fields(
    stores: Any, redis_client: redis.Redis
) -> None:
    values = np.arange(len(OTHER.names), dtype=float)[None]
    OnlineWriter(redis_client, stores.project, OTHER).write(["A"], np.array([stores.now_us]), values)
    ours, stock = stores.both(REFS, rows_of("A"))
    assert ours.to_dict(include_event_timestamps=True) == stock.to_dict(include_event_timestamps=True)
    expected = dict(zip(OTHER.names, values[0], strict=True))
    assert {name: value for name, (value,) in ours.to_dict().items() if name != "symbol"} == {
        name: expected.get(name) for name in NAMES
    }


def test_a_record_alone_of_another_catalogue_counts_as_not_found_and_is_logged_once(
    stores: Any, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    decode._warn.cache_clear()
    values, times = np.ones((2, len(OTHER.names))), np.full(2, stores.now_us)
    OnlineWriter(redis_client, stores.project, OTHER, packed_only=True).write(["A", "B"], times, values)
    OnlineWriter(redis_client, stores.project, SOCIAL, packed_only=True).write(["C"], times[:1], np.ones((1, 8)))
    with caplog.at_level(logging.WARNING):
        read = stores.read("ours", REFS, rows_of("A", "B", "C"))
    for column in list(stores.columns(read).values())[1:]:
        assert list(column.statuses) == [FieldStatus.NOT_FOUND, FieldStatus.NOT_FOUND, FieldStatus.PRESENT]
        assert [t.seconds for t in column.event_timestamps[:2]] == [0, 0]
        assert [v.WhichOneof("val") for v in column.values[:2]] == [None, None]
    assert [r.getMessage()[:17] for r in caplog.records] == ["rows of social ar"]


def test_a_row_that_changes_between_the_two_round_trips_is_read_as_it_is_then(
    stores: Any, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = OnlineWriter(redis_client, stores.project, SOCIAL)
    writer.write(["A", "B"], np.full(2, stores.now_us - 5), np.ones((2, 8)))
    without_records(redis_client, ["A", "B"])
    fetch, rounds = stores.online._fetch, []

    def fetch_and_change(*given: Any) -> Any:
        replies = fetch(*given)
        if not rounds:
            redis_client.delete(key_of("A"))
            writer.write(["B"], np.array([stores.now_us]), np.full((1, 8), 2.0))
        rounds.append(len(replies))
        return replies

    monkeypatch.setattr(stores.online, "_fetch", fetch_and_change)
    read = stores.read("ours", REFS, rows_of("A", "B"))
    assert rounds == [2, 2]
    assert read.to_dict()["author_ratio_1h"] == [None, 2.0]
    assert list(stores.columns(read)["author_ratio_1h"].statuses) == [FieldStatus.NOT_FOUND, FieldStatus.PRESENT]


def test_hostile_bytes_in_a_time_field_are_no_record(stores: Any, redis_client: redis.Redis) -> None:
    """As long as a record, and with a value of its own in the place of the header."""
    OnlineWriter(redis_client, stores.project, SOCIAL).write(["A"], np.array([stores.now_us]), np.ones((1, 8)))
    raw = redis_client.hget(key_of("A"), time_field("social"))
    forged = encode_time(stores.now_us) + b"\x6a\xff\x00"  # of a length that fits no layout
    for time in (forged + bytes(0x7F), raw[:40] + bytes(8) + raw[48:]):
        redis_client.hset(key_of("A"), time_field("social"), time)
        redis_client.hset(
            key_of("A"), feature_field("social", "author_ratio_1h"), Value(double_val=7.0).SerializeToString()
        )
        assert stores.read("ours", REFS, rows_of("A")).to_dict()["author_ratio_1h"] == [7.0]


@pytest.mark.parametrize("time", [b"\x08", b"\x08\x80", b"\xff\xff", b"\x08" + varint(2**62)], ids=repr)
@pytest.mark.parametrize(
    ("view", "feature"), [("social", "author_ratio_1h"), ("every_type", "a_text")], ids=["with records", "without"]
)
def test_a_time_field_without_an_event_time_is_an_error_that_names_the_row_and_what_to_do(
    stores: Any, redis_client: redis.Redis, view: str, feature: str, time: bytes
) -> None:
    redis_client.hset(key_of("B"), time_field(view), time)
    with pytest.raises(UnreadableRowError, match=rf"row 1 of the request has a field _ts:{view} .* Delete the field"):
        stores.read("ours", [f"{view}:{feature}"], rows_of("A", "B"))
    redis_client.hdel(key_of("B"), time_field(view))
    assert stores.read("ours", [f"{view}:{feature}"], rows_of("A", "B")).to_dict()[feature] == [None, None]
