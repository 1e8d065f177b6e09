"""Keys, field names, numbers and times as bytes of Feast's Redis format."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.stores.online.format import (
    decode_time,
    encode_time,
)
from transforms.times import datetime_of_us


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_event_times_are_encoded_as_protobuf_does_and_decoded_back(event_us: int) -> None:
    expected = Timestamp()
    expected.FromDatetime(datetime_of_us(event_us))
    assert encode_time(event_us) == expected.SerializeToString()
    assert decode_time(encode_time(event_us)) == event_us
