"""Rows packed for the script that writes them."""

from __future__ import annotations

import numpy as np
from feast.protos.feast.types.Value_pb2 import (
    Value,
)
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.stores.online.format import (
    encode_time,
    feature_field,
)
from feature_repo.stores.online.pack import RowEncoder, packed_text

T_US = 1_700_000_000_123_456


@given(
    doubles=st.lists(st.floats(width=64), min_size=4, max_size=4),
    ints=st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53)), min_size=2, max_size=2),
)
def test_columns_become_the_bytes_that_protobuf_writes(doubles: list[float], ints: list[int | None]) -> None:
    values = np.array([[doubles[0], ints[0], doubles[1]], [doubles[2], ints[1], doubles[3]]], dtype=float)
    rows = RowEncoder("v", ["a", "n", "b"], ["Float64", "Int64", "Float64"]).rows(np.array([T_US, 0]), values)
    for row, packed, t in zip(values.tolist(), rows, (T_US, 0), strict=True):
        expected = b"\xdd\x00\x00\x00\x08" + packed_text(b"_ts:v") + packed_text(encode_time(t))
        for name, kind in (("a", "double_val"), ("b", "double_val"), ("n", "int64_val")):
            value = row["anb".index(name)]
            proto = Value() if np.isnan(value) else Value(**{kind: int(value) if name == "n" else value})
            expected += packed_text(feature_field("v", name)) + packed_text(proto.SerializeToString())
        assert packed == expected
