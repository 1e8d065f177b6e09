"""Keys, field names, numbers and times as bytes of Feast's Redis format."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.stores.online.format import (
    SymbolKeys,
    decode_time,
    encode_time,
    entity_keys,
    varint,
    with_silence,
    without_silence,
)
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


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_varint_is_that_of_protobuf(value: int) -> None:
    tag = 4 << 3  # Value.int64_val
    assert bytes((tag,)) + varint(value) == Value(int64_val=value).SerializeToString()


@pytest.mark.parametrize(
    ("silent_us", "told_us"), [(0, 0), (999, 0), (1_000, 1_000), (1_999, 1_000), (10**18, (2**32 - 1) * 1_000)]
)
def test_a_silence_is_told_in_whole_milliseconds_and_protobuf_skips_it(silent_us: int, told_us: int) -> None:
    time = encode_time(1_700_000_000_123_456)
    raw = with_silence(time, silent_us)
    assert without_silence(raw) == (time, told_us)
    assert decode_time(raw) == decode_time(time)
    assert Timestamp.FromString(raw).ToMicroseconds() == 1_700_000_000_123_456


def test_the_epoch_itself_is_a_time_without_bytes() -> None:
    assert encode_time(0) == b""
    assert without_silence(b"") == (b"", 0)
    assert decode_time(b"") == 0
