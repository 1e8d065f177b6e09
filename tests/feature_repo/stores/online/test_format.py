"""Keys, field names, numbers and times as bytes of Feast's Redis format."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from feast.infra.key_encoding_utils import serialize_entity_key, serialize_entity_key_prefix
from feast.infra.online_stores.helpers import _mmh3
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.stores.online.format import (
    SymbolKeys,
    decode_int64,
    decode_time,
    encode_time,
    event_and_silence,
    feature_field,
    key_head,
    project_of_key,
    varint,
    with_created,
    with_silence,
)
from feature_repo.stores.online.from_feast import entity_keys
from tests.feature_repo.stores.feast_rows import entity
from transforms.times import datetime_of_us


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_event_times_are_encoded_as_protobuf_does_and_decoded_back(event_us: int) -> None:
    expected = Timestamp()
    expected.FromDatetime(datetime_of_us(event_us))
    assert encode_time(event_us) == expected.SerializeToString()
    assert decode_time(encode_time(event_us)) == event_us


@given(st.lists(st.text(max_size=300)))
def test_the_keys_of_symbols_are_those_that_feast_makes(symbols: list[str]) -> None:
    config = SimpleNamespace(project="trading", entity_key_serialization_version=3)
    entities = [entity(symbol) for symbol in symbols]
    assert SymbolKeys("trading", "symbol").keys(symbols) == entity_keys(config, entities)
    assert entity_keys(config, entities) == [serialize_entity_key(e, 3) + b"trading" for e in entities]


@given(st.text(max_size=80), st.text(max_size=80))
def test_the_field_of_a_feature_is_that_of_feast(view: str, feature: str) -> None:
    assert feature_field(view, feature) == _mmh3(f"{view}:{feature}")


values = st.builds(lambda v: Value(string_val=v), st.text()) | st.builds(
    lambda v: Value(int64_val=v), st.integers(-(2**63), 2**63 - 1)
)


@given(st.dictionaries(st.text(), values, max_size=3), st.sampled_from(["trading", "papertrading", "ing"]))
def test_the_project_of_a_key_of_any_entity_is_told_from_others_that_end_alike(
    pairs: dict[str, Value], project: str
) -> None:
    key = EntityKey(join_keys=list(pairs), entity_values=list(pairs.values()))
    raw = serialize_entity_key(key, 3) + project.encode()
    assert project_of_key(raw) == project.encode()
    assert raw.startswith(key_head(list(pairs)))
    assert key_head(list(pairs)) == serialize_entity_key_prefix(list(pairs), 3)


@pytest.mark.parametrize("raw", [b"", b"own:3", b"\x01\x00\x00\x00", b"\xff" * 40, b"events:{0}trading"])
def test_bytes_that_are_no_key_have_no_project(raw: bytes) -> None:
    assert project_of_key(raw) is None


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_varint_is_that_of_protobuf(value: int) -> None:
    tag = 4 << 3  # Value.int64_val
    assert bytes((tag,)) + varint(value) == Value(int64_val=value).SerializeToString()


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_whole_number_is_decoded_as_protobuf_does(value: int) -> None:
    assert decode_int64(Value(int64_val=value).SerializeToString()) == value


@pytest.mark.parametrize("raw", [b"", b"\x20", b"\x20\x80", b"\x20\x01\x02", b"\x29" + bytes(8)])
def test_bytes_that_are_no_whole_number_are_none(raw: bytes) -> None:
    assert decode_int64(raw) is None


@pytest.mark.parametrize(
    ("silent_us", "told_us"), [(0, 0), (999, 0), (1_000, 1_000), (1_999, 1_000), (10**18, (2**32 - 1) * 1_000)]
)
def test_a_silence_is_told_in_whole_milliseconds_and_protobuf_skips_it(silent_us: int, told_us: int) -> None:
    time = encode_time(1_700_000_000_123_456)
    raw = with_silence(time, silent_us)
    assert event_and_silence(raw) == (time, told_us)
    assert decode_time(raw) == decode_time(time)
    assert Timestamp.FromString(raw).ToMicroseconds() == 1_700_000_000_123_456
    created = with_silence(with_created(time, 1_700_000_000_500_000), silent_us)
    assert event_and_silence(created) == (time, told_us)
    assert Timestamp.FromString(created).ToMicroseconds() == 1_700_000_000_123_456


def test_the_epoch_itself_is_a_time_without_bytes() -> None:
    assert encode_time(0) == b""
    assert event_and_silence(b"") == (b"", 0)
    assert decode_time(b"") == 0
