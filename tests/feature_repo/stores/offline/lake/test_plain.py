"""Single values from the bytes of a file: those that Arrow reads, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.stores.offline.binary.cells import at_every_byte
from feature_repo.stores.offline.lake import plain


def written(path: Path, column: pa.Array, **how: Any) -> None:
    options: dict[str, Any] = {"compression": "none", "use_dictionary": False, "data_page_size": 8 << 20} | how
    pq.write_table(pa.table({"other": column, "x": column}), path, **options)


def place_in(path: Path, group: int) -> int | None:
    chunk, column = pq.read_metadata(path).row_group(group).column(1), pq.read_metadata(path).schema.column(1)
    with path.open("rb") as file:
        return plain.place_of(file, chunk, nullable=column.max_definition_level > 0)


def value_of(path: Path, group: int, row: int) -> Any:
    """The value of ``x`` from the bytes, None where they do not lie there one by one."""
    place = place_in(path, group)
    if place is None:
        return None
    dtype = plain.DTYPES[pq.read_metadata(path).schema.column(1).physical_type]
    return at_every_byte(path.read_bytes(), dtype)[place + plain.WIDTH * row]


@pytest.mark.parametrize("size", [1, 7, 8, 127, 128, 5_000])
def test_each_value_of_whole_columns_lies_where_it_is_said(tmp_path: Path, size: int) -> None:
    rng = np.random.default_rng(size)
    numbers = rng.normal(size=2 * size)
    numbers[0] = np.nan
    for values in (numbers, rng.integers(-(2**62), 2**62, 2 * size)):
        written(tmp_path / "a", pa.array(values, from_pandas=False), row_group_size=size)
        for group in (0, 1):
            for row in {0, size - 1, size // 2}:
                found = value_of(tmp_path / "a", group, row)
                assert np.asarray(found).tobytes() == values[group * size + row].tobytes()


@pytest.mark.parametrize("size", [1, 8, 5_000])
def test_times_that_cannot_be_null_lie_where_it_is_said(tmp_path: Path, size: int) -> None:
    times = np.arange(2 * size) + 1_700_000_000_000_000
    column = pa.array(times).view(pa.timestamp("us", "UTC"))
    schema = pa.schema([pa.field(name, column.type, nullable=False) for name in ("other", "x")])
    pq.write_table(
        pa.table([column, column], schema=schema),
        tmp_path / "a",
        compression="none",
        use_dictionary=False,
        data_page_size=8 << 20,
        row_group_size=size,
    )
    assert [value_of(tmp_path / "a", group, size - 1) for group in (0, 1)] == times[[size - 1, 2 * size - 1]].tolist()


@pytest.mark.parametrize("size", [1, 5_000])
def test_a_column_without_values_is_told_from_one_with_some(tmp_path: Path, size: int) -> None:
    written(tmp_path / "a", pa.array([None] * size + [1.0] + [None] * (size - 1), pa.float64()), row_group_size=size)
    assert place_in(tmp_path / "a", 0) == plain.NULL
    assert place_in(tmp_path / "a", 1) != plain.NULL


@pytest.mark.parametrize("nulls", [[0], [4_999], [17], list(range(0, 5_000, 2))])
def test_where_a_value_is_null_none_is_read_alone(tmp_path: Path, nulls: list[int]) -> None:
    mask = np.zeros(5_000, np.bool_)
    mask[nulls] = True
    written(tmp_path / "a", pa.array(np.arange(5_000.0), mask=mask))
    assert value_of(tmp_path / "a", 0, 1) is None


@pytest.mark.parametrize(
    "how",
    [
        {"compression": "lz4"},
        {"use_dictionary": True},
        {"data_page_size": 8_000, "write_batch_size": 100},
        {"data_page_version": "2.0"},
        {"column_encoding": {"x": "BYTE_STREAM_SPLIT", "other": "PLAIN"}},
    ],
)
def test_a_column_that_is_written_otherwise_is_not_read_so(tmp_path: Path, how: dict[str, Any]) -> None:
    written(tmp_path / "a", pa.array(np.arange(5_000.0)), **how)
    assert value_of(tmp_path / "a", 0, 1) is None


def test_other_types_are_not_read_so(tmp_path: Path) -> None:
    for column in (pa.array(["a"] * 10), pa.array([1.0] * 10, pa.float32()), pa.array([True] * 10)):
        written(tmp_path / "a", column)
        assert value_of(tmp_path / "a", 0, 1) is None
