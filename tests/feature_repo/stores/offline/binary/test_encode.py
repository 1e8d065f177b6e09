"""Columns become the bytes that PostgreSQL documents."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest

from feature_repo.stores.offline.binary import encode
from feature_repo.stores.offline.binary.encode import Fixed, Text, column_of, column_type, microseconds
from feature_repo.stores.offline.binary.format import EPOCH_US, SIGNATURE, TRAILER

EAST = "\u00e9"  # two bytes in UTF-8


def test_a_row_is_its_number_of_fields_and_each_length_and_value() -> None:
    columns = [
        encode.integers(np.array([7, 8])),
        encode.texts(pa.array([EAST, None])),
        encode.doubles(np.array([np.nan, -0.0])),
        encode.times(np.array([EPOCH_US, EPOCH_US + 1])),
    ]
    first = struct.pack(">hiqi2sii", 4, 8, 7, 2, EAST.encode(), -1, 8) + bytes(8)
    second = struct.pack(">hiqiidiq", 4, 8, 8, -1, 8, -0.0, 8, 1)
    assert b"".join(encode.encode(columns)) == SIGNATURE + first + second + TRAILER


def test_columns_without_rows_are_an_empty_stream() -> None:
    assert b"".join(encode.encode([encode.texts([]), encode.doubles(np.empty(0))])) == SIGNATURE + TRAILER


def test_blocks_of_any_size_make_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = encode.texts(["x" * (i % 7) for i in range(100)])
    columns = [encode.integers(np.arange(100)), texts]
    whole = b"".join(encode.encode(columns))
    monkeypatch.setattr(encode, "_BLOCK_BYTES", 64)
    blocks = list(encode.encode(columns))
    assert len(blocks) > 30
    assert b"".join(blocks) == whole


def test_a_slice_of_an_array_is_encoded_from_its_own_offset() -> None:
    texts = pa.array(["a", "bb", None, "ccc"])
    assert list(encode.encode([encode.texts(texts.slice(1, 3))])) == list(encode.encode([encode.texts(texts[1:])]))
    assert b"a" not in b"".join(encode.encode([encode.texts(texts.slice(1))]))


@pytest.mark.parametrize("value", [0.5, 2.0**63, -(2.0**63), np.inf])
def test_a_count_that_is_not_whole_or_too_large_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="whole number of 64 bits"):
        encode.whole_doubles(np.array([value]))


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
