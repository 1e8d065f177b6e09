"""Arrow arrays become columns of the types that tables have."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.stores.offline.binary.encode import Fixed, Text
from feature_repo.stores.offline.binary.from_arrow import column_of, column_type, microseconds


def test_finer_times_are_cut_downwards_and_a_null_is_zero() -> None:
    assert microseconds(pa.array([1_999, -1, None], pa.timestamp("ns"))).tolist() == [1, -1, 0]
    assert microseconds(pa.array([2, None], pa.timestamp("s", "Asia/Tokyo"))).tolist() == [2_000_000, 0]


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(pa.ArrowInvalid):
        microseconds(pa.array(["yesterday"]))


def test_a_null_of_each_kind_is_marked() -> None:
    for kind, values in {
        "bigint": [1, None],
        "real": [0.5, None],
        "boolean": [True, None],
        "text": ["a", None],
    }.items():
        column = column_of(pa.array(values), kind)
        assert column.null is not None
        assert column.null.tolist() == [False, True]
        assert isinstance(column, Text if kind == "text" else Fixed)


def test_doubles_go_into_a_column_of_whole_numbers_where_they_are_whole() -> None:
    column = column_of(pa.array([3.0, None]), "bigint")
    assert isinstance(column, Fixed)
    assert column.values.astype(np.int64).tolist() == [3, 0]
    with pytest.raises(ValueError, match="whole number"):
        column_of(pa.array([3.5]), "bigint")


def test_each_arrow_type_has_a_column_type_or_is_refused_by_name() -> None:
    kinds = {pa.large_string(): "text", pa.int8(): "bigint", pa.float32(): "double precision", pa.binary(): "bytea"}
    assert {kind: column_type(kind) for kind in kinds} == kinds
    with pytest.raises(TypeError, match="list<item: int64>"):
        column_type(pa.list_(pa.int64()))
