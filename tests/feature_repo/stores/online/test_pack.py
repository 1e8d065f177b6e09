"""Rows packed for the script that writes them."""

from __future__ import annotations

import re

import numpy as np
import pytest
import redis
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.stores.online.format import encode_time, feature_field, with_silence
from feature_repo.stores.online.pack import RowEncoder, packed_row, packed_text
from feature_repo.stores.online.record import Dtype, layout_of

T_US = 1_700_000_000_123_456


@given(
    doubles=st.lists(st.floats(width=64), min_size=4, max_size=4),
    ints=st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53)), min_size=2, max_size=2),
)
def test_columns_become_the_bytes_that_protobuf_writes(doubles: list[float], ints: list[int | None]) -> None:
    values = np.array([[doubles[0], ints[0], doubles[1]], [doubles[2], ints[1], doubles[3]]], dtype=float)
    times, layout = np.array([T_US, 0]), layout_of(("a", "n", "b"), ("Float64", "Int64", "Float64"))
    rows = RowEncoder("v", layout.names, layout.dtypes).rows(times, values)
    for row, packed, t in zip(values.tolist(), rows, (T_US, 0), strict=True):
        time = layout.with_record(encode_time(t), layout.record(t, 0, [row[0], row[1] + 0.0, row[2]]))
        expected = b"\xdd\x00\x00\x00\x08" + packed_text(b"_ts:v") + packed_text(time)
        for name, kind in (("a", "double_val"), ("b", "double_val"), ("n", "int64_val")):
            value = row["anb".index(name)]
            proto = Value() if np.isnan(value) else Value(**{kind: int(value) if name == "n" else value})
            expected += packed_text(feature_field("v", name)) + packed_text(proto.SerializeToString())
        assert packed == expected


@pytest.mark.parametrize("size", [0, 31, 32, 255, 256, 65_535, 65_536])
def test_a_text_of_any_length_is_unpacked_by_the_server_as_it_was(redis_client: redis.Redis, size: int) -> None:
    raw = b"x" * size
    assert redis_client.eval("return cmsgpack.unpack(ARGV[1])", 0, packed_text(raw)) == raw


def test_a_row_from_columns_is_the_row_of_the_same_serialised_values() -> None:
    layout, times, values = layout_of(("a", "n"), ("Float64", "Int64")), np.array([T_US]), np.array([[0.5, np.nan]])
    (row,) = RowEncoder("v", layout.names, layout.dtypes).rows(times, values)
    serialised = {"a": Value(double_val=0.5).SerializeToString(), "n": b""}
    assert row == packed_row("v", encode_time(T_US), serialised, layout)
    (lone,) = RowEncoder("v", layout.names, layout.dtypes, lone=True).rows(times, values)
    assert lone == packed_row("v", encode_time(T_US), serialised, layout, lone=True)
    assert len(lone) < len(row)


@pytest.mark.parametrize("values", [{"a": b""}, {"a": b"", "n": Value(int64_val=2**53 + 1).SerializeToString()}])
def test_a_row_that_doubles_do_not_say_whole_and_exactly_has_no_record(values: dict[str, bytes]) -> None:
    layout = layout_of(("a", "n"), ("Float64", "Int64"))
    for lone in (False, True):
        assert packed_row("v", b"", values, layout, lone=lone) == packed_row("v", b"", values)


def test_a_silence_stands_in_front_of_the_event_time_of_its_row() -> None:
    encoder, times = RowEncoder("v", ["a"], ["Float64"]), np.array([T_US, T_US])
    silent, spoke = encoder.rows(times, np.zeros((2, 1)), np.array([2_000, 0]))
    assert spoke == encoder.rows(times[:1], np.zeros((1, 1)))[0]
    head = b"\xdd\x00\x00\x00\x04" + packed_text(b"_ts:v") + b"\xd9\x48"
    assert spoke.startswith(head + encode_time(T_US))
    assert silent.startswith(head + with_silence(encode_time(T_US), 2_000))


@pytest.mark.parametrize("dtypes", [["Float32"], ["Float64", "Int64"]])
def test_a_dtype_that_the_format_does_not_have_or_one_too_many_is_refused(dtypes: list[Dtype]) -> None:
    with pytest.raises(ValueError, match=f"view 'v': every feature needs .* not {re.escape(str(dtypes))}"):
        RowEncoder("v", ["a"], dtypes)


def test_a_whole_number_has_no_negative_zero() -> None:
    (row,) = RowEncoder("v", ["a", "n"], ["Float64", "Int64"], lone=True).rows(np.array([T_US]), np.full((1, 2), -0.0))
    assert row.endswith(np.array([-0.0, 0.0]).tobytes())
