"""Rows as records of fixed size behind the event time."""

from __future__ import annotations

import struct
from itertools import combinations

import numpy as np
import pytest
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from feature_repo.stores.online.format import (
    decode_time,
    encode_time,
    event_and_silence,
    with_created,
    with_silence,
)
from feature_repo.stores.online.record import Layout, is_lone, layout_of
from transforms.catalog import VIEWS

T_US = 1_700_000_000_123_456
LAYOUT = layout_of(("a", "n", "b"), ("Float64", "Int64", "Float64"))
doubles = st.floats(allow_nan=False) | st.just(np.nan)


@given(
    event_us=st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999),
    silent_us=st.integers(0, 10**14),
    created_us=st.none() | st.integers(0, 2**60),
    row=st.tuples(doubles, st.integers(-(2**53), 2**53), doubles),
    lone=st.booleans(),
)
@example(event_us=-62_135_596_800_000_000, silent_us=10**14, created_us=0, row=(-0.0, 0, np.inf), lone=True)
def test_a_time_field_with_a_record_is_a_time_to_feast_and_a_row_of_words_to_numpy(
    event_us: int, silent_us: int, created_us: int | None, row: tuple[float, int, float], lone: bool
) -> None:
    time = encode_time(event_us) if created_us is None else with_created(encode_time(event_us), created_us)
    time = with_silence(time, silent_us)
    record = LAYOUT.record(event_us, silent_us, row)
    raw = LAYOUT.with_record(time, record, lone=lone)
    assert Timestamp.FromString(raw).ToMicroseconds() == event_us
    stamp, told_us = event_and_silence(raw)
    assert decode_time(stamp) == event_us
    assert raw.startswith(time)
    assert is_lone(raw) is lone
    assert not is_lone(time)
    assert LAYOUT.holds(raw) and len(raw) == LAYOUT.size == 8 * 11
    assert struct.unpack("<2q", raw[48:64]) == (event_us, event_us - told_us)
    assert raw[64:] == struct.pack("<3d", *row)


@given(
    st.tuples(doubles, st.none() | st.integers(-(2**53), 2**53), doubles),
    st.integers(0, 4_000_000),
)
def test_the_record_of_serialised_values_is_that_of_their_numbers(
    row: tuple[float, int | None, float], silent_us: int
) -> None:
    values = [Value() if v is None or np.isnan(v) else Value(double_val=v) for v in row]
    if row[1] is not None:
        values[1] = Value(int64_val=row[1])
    time = with_silence(encode_time(T_US), silent_us)
    record, odd = LAYOUT.record_of(time, [value.SerializeToString() for value in values])
    assert odd == {}
    assert record == LAYOUT.record(T_US, silent_us, [np.nan if v is None else v for v in row])


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, Value(double_val=np.nan)),  # null is another thing
        (0, Value(int64_val=1)),
        (0, Value(string_val="seven77")),  # nine bytes, as a double
        (1, Value(double_val=1.0)),
        (1, Value(int64_val=2**53 + 1)),
        (1, Value(int64_val=-(2**63))),
        (2, Value(float_val=1.0)),
        (1, Value(bool_val=True)),
    ],
)
def test_a_value_that_no_double_says_exactly_is_told_apart(at: int, value: Value) -> None:
    raw: list[bytes | None] = [None, b"", None]
    raw[at] = value.SerializeToString()
    record, odd = LAYOUT.record_of(encode_time(T_US), raw)
    assert odd == {at: value.SerializeToString()}
    assert np.isnan(np.frombuffer(record[-24:])).all()


def test_other_columns_are_told_by_the_header() -> None:
    layouts = [
        LAYOUT,
        layout_of(("a", "b", "n"), ("Float64", "Float64", "Int64")),
        layout_of(("a", "n", "b"), ("Float64", "Float64", "Float64")),
        layout_of(("a", "n", "c"), ("Float64", "Int64", "Float64")),
        layout_of(("a", "n"), ("Float64", "Int64")),
        *(layout_of(view.names, tuple(f.dtype for f in view.features)) for view in VIEWS),
    ]
    for one, other in combinations(layouts, 2):
        assert not one.holds(other.absent) and not other.holds(one.absent)
    assert layout_of(("a", "n", "b"), ("Float64", "Int64", "Float64")) is LAYOUT


def test_the_hash_of_columns_is_the_same_in_every_release() -> None:
    """Another hash would make every stored record unreadable: then the form's version has to change, too."""
    assert Layout(("a", "n"), ("Float64", "Int64")).absent[40:48].hex() == "bf15d36343b7b82d"
