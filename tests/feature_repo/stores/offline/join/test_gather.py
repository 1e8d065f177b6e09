"""Pieces of columns are put into the rows that they belong to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.stores.offline.binary.cells import UnsupportedTypeError
from feature_repo.stores.offline.binary.format import BOOL, FLOAT8, INT8, TEXT, TIMESTAMPTZ
from feature_repo.stores.offline.join.gather import Columns


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_pieces_in_any_order_make_columns_with_nulls_where_nothing_was_put() -> None:
    columns = Columns([FLOAT8, TEXT, BOOL, TIMESTAMPTZ], 5)
    first = [
        pa.array([1.5, None]),
        pa.array(["a", None]),
        pa.array([True, False]),
        pa.array([7, None], pa.timestamp("us")),
    ]
    second = [pa.array([2.5]), pa.array(["b"]), pa.array([None], pa.bool_()), pa.array([8], pa.timestamp("us"))]
    columns.put(rows(4, 1), first)
    columns.put(rows(0), second)
    assert columns.finish(0).to_pylist() == [2.5, None, None, None, 1.5]
    assert columns.finish(1).to_pylist() == ["b", None, None, None, "a"]
    assert columns.finish(2).to_pylist() == [None, False, None, None, True]
    assert columns.finish(3).cast(pa.int64()).to_pylist() == [8, None, None, None, 7]


def test_numbers_are_put_with_what_is_valid_of_them_and_a_nan_stays() -> None:
    columns = Columns([INT8, FLOAT8], 3)
    columns.put_values(0, rows(2, 0), np.array([2**62 + 1, 9]), np.array([True, False]))
    columns.put_values(1, rows(1), np.array([np.nan]), np.array([True]))
    assert columns.finish(0).to_pylist() == [None, None, 2**62 + 1]
    found = columns.finish(1)
    assert found.null_count == 2
    assert np.isnan(found[1].as_py())


def test_a_column_of_texts_takes_no_numbers_and_an_unknown_type_has_no_column() -> None:
    with pytest.raises(TypeError, match="Arrow arrays"):
        Columns([TEXT], 1).put_values(0, rows(0), np.array([1.0]), np.array([True]))
    with pytest.raises(UnsupportedTypeError, match="3614"):
        Columns([3614], 1)  # a text search vector
