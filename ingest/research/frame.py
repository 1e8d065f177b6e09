"""A training frame in memory: the rows of each symbol by time, features as doubles, and the returns that come after
each row."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_repo.stores.errors import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROWS_MAX: Final = 500_000
"""Rows that are read. Of a longer frame only every second, third, ... moment of its grid counts."""

NEWEST_MAX: Final = 200_000
"""Newest rows, without any moment left out, that the tests for what looks ahead read."""
_FORWARD: Final = re.compile(r"forward_log_return_(?:(?:trade|long|short)_)?(\d+(?:\.\d+)?(?:e[+-]?\d+)?)s")
_OF_LABEL: Final = re.compile(r"(?:forward_log_return|barrier)_.*")
_NUMBERS: Final = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean)


class ResearchError(UserError, ValueError):
    """The frame cannot be examined; the message says why."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows ordered by symbol, then time.

    Attributes
    ----------
    symbols : tuple of slice
        The rows of each symbol.
    t_us : ndarray of shape (n,)
        Times, in microseconds.
    names : tuple of str
        The features.
    x : ndarray of shape (n, k)
        Their values; NaN is null.
    returns : mapping
        By horizon in microseconds: ``(n,)`` returns over ``(t, t + horizon]``; NaN is null.
    step_us : int
        The smallest time between two rows of a symbol.
    """

    symbols: tuple[slice, ...]
    t_us: Ints
    names: tuple[str, ...]
    x: Floats
    returns: Mapping[int, Floats]
    step_us: int

    def at(self, offset_us: int) -> Ints:
        """Return for each row the number of its symbol's row `offset_us` later, or -1 where there is none.

        Examples
        --------
        >>> times = np.array([0, 10, 20, 40])
        >>> Frame((slice(0, 4),), times, (), np.empty((4, 0)), {}, 10).at(-10)
        array([-1,  0,  1, -1])
        """
        found = np.full(len(self.t_us), -1)
        for rows in self.symbols:
            times = self.t_us[rows]
            place = np.minimum(np.searchsorted(times, times + offset_us), len(times) - 1)
            found[rows] = np.where(times[place] == times + offset_us, place + rows.start, -1)
        return found


def taken(values: Floats, at: Ints) -> Floats:
    """Return the values at some rows; NaN where the row is -1."""
    return np.where(at < 0, np.nan, values[at])


def read(
    path: Path,
    *,
    labels: Mapping[str, int] | None = None,
    features: Sequence[str] = (),
    without: Sequence[str] = (),
    rows_max: int = ROWS_MAX,
    newest: bool = False,
) -> Frame:
    """Read a frame.

    Parameters
    ----------
    path : Path
        A Parquet file with the columns ``symbol`` and ``event_timestamp``.
    labels : mapping of str to int, optional
        Columns of returns, with their horizons in microseconds. Without them, those that are named
        ``forward_log_return_<h>s``.
    features : sequence of str, optional
        Columns that count as features. Without them those that the file's metadata name, or else all others of numbers
        or booleans; but for those `without`.
    without : sequence of str, optional
        Columns that do not count as features.
    rows_max : int, optional
        How many rows are read, about.
    newest : bool, optional
        Read the newest moments of a longer frame, and not some of all its moments.

    Raises
    ------
    ResearchError
    """
    file = _open(path)
    schema = file.schema_arrow
    told = _features_told(schema)
    horizons = dict(labels or horizons_of(schema.names))
    if not horizons:
        raise ResearchError("the frame has no column forward_log_return_<h>s; name its returns with --label COLUMN=60s")
    chosen = list(features) or [
        field.name
        for field in schema
        if (field.name in told if told else not _OF_LABEL.fullmatch(field.name))
        if any(is_kind(field.type) for is_kind in _NUMBERS) and field.name not in {*horizons, *without, "symbol"}
    ]
    for name in ("symbol", "event_timestamp", *horizons, *chosen):
        if schema.names.count(name) != 1:
            raise ResearchError(f"the frame must have one column {name!r:.60}")
    if not chosen:
        raise ResearchError("the frame has no feature: no other column of numbers")
    times = file.read(["event_timestamp"]).column(0)
    if not pa.types.is_timestamp(times.type):
        raise ResearchError("event_timestamp must be a time")
    moments = np.unique(_us(times))
    every = slice(-max(1, len(moments) * rows_max // max(1, len(times))), None)
    if not newest:
        every = slice(None, None, max(1, -(-len(times) // rows_max)))
    kept = moments[every]
    parts = []
    for batch in file.iter_batches(columns=["symbol", "event_timestamp", *chosen, *horizons]):
        table = pa.Table.from_batches([batch])
        parts.append(table.filter(pa.array(np.isin(_us(table.column("event_timestamp")), kept))))
    table = pa.concat_tables(parts) if parts else file.read(["symbol", "event_timestamp", *chosen, *horizons])
    return _frame(table, chosen, horizons)


def _features_told(schema: pa.Schema) -> list[str]:
    """Return the features that the file's metadata name, as those of ``training-frame`` do."""
    try:
        found = json.loads((schema.metadata or {}).get(b"features", b"[]"))
    except ValueError:
        return []
    return [name for name in found if name in schema.names] if isinstance(found, list) else []


def horizons_of(columns: Sequence[str]) -> dict[str, int]:
    """Return one column of forward returns for each horizon, with the horizon in microseconds; of mid prices where
    there are such.

    >>> horizons_of(["mid_price", "forward_log_return_long_60s", "forward_log_return_60s", "forward_log_return_trade_0.5s"])
    {'forward_log_return_60s': 60000000, 'forward_log_return_trade_0.5s': 500000}
    """
    found: dict[int, str] = {}
    for name in sorted(columns, key=lambda name: name.count("_")):
        if match := _FORWARD.fullmatch(name):
            found.setdefault(round(float(match[1]) * 1e6), name)
    return {name: horizon for horizon, name in found.items()}


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ResearchError(f"{path} is no Parquet file: {error}") from error


def _us(times: Any) -> Ints:
    return np.asarray(times.cast(pa.timestamp("us", times.type.tz), safe=False).cast(pa.int64()).to_numpy(), np.int64)


def _frame(table: pa.Table, features: Sequence[str], horizons: Mapping[str, int]) -> Frame:
    symbols = pc.dictionary_encode(table.column("symbol").cast(pa.string())).combine_chunks()
    codes = np.asarray(symbols.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
    t_us = _us(table.column("event_timestamp"))
    order = np.lexsort((t_us, codes))
    codes, t_us = codes[order], t_us[order]
    same = np.flatnonzero((np.diff(codes) == 0) & (np.diff(t_us) == 0))
    if len(same):
        raise ResearchError("the frame has two rows of one symbol and time")
    edges = np.flatnonzero(np.diff(codes)) + 1
    bounds = [0, *edges.tolist(), len(codes)]
    slices = tuple(slice(a, b) for a, b in pairwise(bounds) if b > a)
    steps = [int(np.diff(t_us[rows]).min()) for rows in slices if rows.stop - rows.start > 1]
    if not steps:
        raise ResearchError("the frame has no symbol with two rows")

    def column(name: str) -> Floats:
        values = table.column(name).cast(pa.float64(), safe=False).to_numpy()[order]
        return np.where(np.isfinite(values), values, np.nan)  # an infinite value is an error of its maker

    x = np.empty((len(order), len(features)), order="F")
    for i, name in enumerate(features):
        x[:, i] = column(name)
    returns = {horizon: column(name) for name, horizon in sorted(horizons.items(), key=lambda item: item[1])}
    return Frame(slices, t_us, tuple(features), x, returns, min(steps))
