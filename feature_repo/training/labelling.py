"""Labels beside the features of a training frame: the columns of each, many moments of several symbols at a time.

A label gives the columns ``<label>`` and ``<label>_missing``, which says why it is null (`definitions.MISSING`). `Barriers` give three
more: ``<label>_return``, ``<label>_touch`` (``profit``, ``loss`` or ``horizon``) and ``<label>_end``, when it is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.stores.errors import UserError
from feature_repo.training.definitions import MISSING, Barriers, Label
from feature_repo.training.labels import GIVEN, TOUCHES, Labelled, label, sign
from feature_repo.training.prices import Bools, Floats, Ints
from feature_repo.training.sources import Source, known_at, prices_of
from feature_repo.training.weights import uniqueness
from transforms.times import us_of_duration

UTC_US: Final = pa.timestamp("us", "UTC")
STRETCH_US: Final = 6 * 3600 * 1_000_000  # of prices are in memory at a time, or as much as the longest label
_PAUSE_US: Final = 600 * 1_000_000  # prices that nobody asks for, and that are read all the same to save a read


class LabellingError(UserError, ValueError):
    """Labels cannot be made for this frame; the message says why."""


class Labels:
    """The labels of one frame, and the sources of their prices.

    Parameters
    ----------
    definitions : sequence of Label
        What is computed; no two give the same columns.
    sources : mapping of str to Source
        By price.
    """

    def __init__(self, definitions: Sequence[Label], sources: Mapping[str, Source]) -> None:
        names = [definition.column for definition in definitions]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise LabellingError(f"two labels are called {', '.join(twice)}; give them different numbers")
        for definition in definitions:
            if definition.price not in sources:
                raise LabellingError(f"there are no prices of {definition.price} here; give a source of them")
        self.definitions = tuple(definitions)
        self._sources = sources
        self._newest: dict[tuple[str, str], int] = {}

    @property
    def horizon_us(self) -> int:
        """How far the labels look ahead."""
        return max(us_of_duration(definition.horizon) for definition in self.definitions)

    def check(self, features: Sequence[str]) -> None:
        """Raise `LabellingError` where a feature that a label needs is not in the frame."""
        for definition in self.definitions:
            if isinstance(definition, Barriers) and definition.volatility not in features:
                raise LabellingError(
                    f"{definition.column} is measured in {definition.volatility}, which the feature service does not have"
                )

    def append(self, table: pa.Table) -> pa.Table:
        """Return the table, which has ``symbol``, ``event_timestamp`` and features, with the columns of the labels."""
        symbols = table.column("symbol").combine_chunks().dictionary_encode()
        code = symbols.indices.to_numpy()
        t_us = table.column("event_timestamp").cast(pa.int64()).to_numpy()
        found = [_empty(len(t_us)) for _ in self.definitions]
        units = [_unit(table, definition) for definition in self.definitions]
        with ExitStack() as stack:
            for source in self._distinct():
                stack.enter_context(source.reading())
            for number, symbol in enumerate(symbols.dictionary.to_pylist()):
                rows = np.flatnonzero(code == number)
                rows = rows[np.argsort(t_us[rows], kind="stable")]
                for part in self._stretches(t_us[rows]):
                    self._label(symbol, t_us, rows[part], units, found)
        for definition, labelled in zip(self.definitions, found, strict=True):
            for name, column in _columns(definition, labelled).items():
                table = table.append_column(name, column)
        return table

    def _stretches(self, t_us: Ints) -> Iterator[slice]:
        """Yield parts of sorted moments whose prices are read together."""
        most, around = max(STRETCH_US, self.horizon_us), self.horizon_us + 2 * self._longest_us() + _PAUSE_US
        far = [*(np.flatnonzero(np.diff(t_us) > around) + 1).tolist(), len(t_us)]
        begin = 0
        for end in far:
            while begin < end:
                last = min(end, int(np.searchsorted(t_us, t_us[begin] + most, side="right")))
                yield slice(begin, last)
                begin = last

    def _longest_us(self) -> int:
        return max(
            max(us_of_duration(definition.longest_pause), self._sources[definition.price].ttl_us)
            for definition in self.definitions
        )

    def _label(
        self, symbol: str, t_us: Ints, rows: Ints, units: Sequence[Floats | None], found: Sequence[Labelled]
    ) -> None:
        """Put the labels of rows of one symbol, sorted by time, into ``found``."""
        moments, longest_us = t_us[rows], self._longest_us()
        begin_us = int(moments[0]) - longest_us
        end_us = int(moments[-1]) + self.horizon_us + longest_us
        read = {id(source): source.read(symbol, begin_us, end_us) for source in self._distinct()}
        for definition, unit, into in zip(self.definitions, units, found, strict=True):
            stored = read[id(self._source(definition))]
            known = known_at(stored, definition, moments)
            volatility = None if unit is None else unit[rows]
            newest_us = self._newest_us(definition, symbol)
            labelled = label(definition, prices_of(stored, definition), known, newest_us, volatility)
            for name in ("returns", "end_us", "touch", "missing"):
                getattr(into, name)[rows] = getattr(labelled, name)

    def _distinct(self) -> list[Source]:
        return list({id(source): source for source in map(self._source, self.definitions)}.values())

    def _source(self, definition: Label) -> Source:
        return self._sources[definition.price]

    def _newest_us(self, definition: Label, symbol: str) -> int:
        key = definition.price, symbol
        if key not in self._newest:
            self._newest[key] = self._source(definition).newest_us(symbol)
        return self._newest[key]


def _empty(n: int) -> Labelled:
    return Labelled(np.full(n, np.nan), np.zeros(n, np.int64), np.zeros(n, np.int8), np.zeros(n, np.int8))


def _unit(table: pa.Table, definition: Label) -> Floats | None:
    if not isinstance(definition, Barriers):
        return None
    return np.asarray(table.column(definition.volatility).cast(pa.float64()).to_numpy(), np.float64)


def _columns(definition: Label, labelled: Labelled) -> dict[str, pa.Array]:
    name, is_null = definition.column, labelled.missing != GIVEN
    why = _words(labelled.missing, MISSING, ~is_null)
    if not isinstance(definition, Barriers):
        return {name: pa.array(labelled.returns, mask=is_null), f"{name}_missing": why}
    value = np.where(is_null, 0, np.nan_to_num(sign(definition, labelled))).astype(np.int8)
    return {
        name: pa.array(value, mask=is_null),
        f"{name}_return": pa.array(labelled.returns, mask=is_null),
        f"{name}_touch": _words(labelled.touch, TOUCHES, is_null),
        f"{name}_end": pa.array(labelled.end_us, mask=is_null).cast(UTC_US),
        f"{name}_missing": why,
    }


def _words(at: NDArray[np.int8], words: Sequence[str], is_null: Bools) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.maximum(at, 0), pa.int8(), mask=is_null), pa.array(words))


def weighted(tables: Iterable[pa.Table], definitions: Sequence[Label]) -> Iterator[pa.Table]:
    """Yield the tables with a column ``<label>_weight`` for each label: its average uniqueness, null where the label is null.

    The bars of the definition are the moments of the label's symbol. A table waits until the labels that overlap its own are known.
    """
    horizon_us = max(us_of_duration(definition.horizon) for definition in definitions)
    before: list[pa.Table] = []  # only the columns that spans are made of
    waiting: list[pa.Table] = []
    of_spans = ["symbol", "event_timestamp", *(name for d in definitions for name in _span_columns(d))]
    for table in chain(tables, [None]):
        ready = waiting if table is None else [t for t in waiting if _last_us(t) + horizon_us < _last_us(table)]
        if table is not None:
            waiting = [*waiting, table]
        if ready:
            known = pa.concat_tables([t.select(of_spans) for t in (*before, *waiting)])
            begin = sum(t.num_rows for t in before)
            columns = [_weights(known, definition) for definition in definitions]
            for done in ready:
                before.append(done.select(of_spans))
                yield _with_weights(done, definitions, [column.slice(begin, done.num_rows) for column in columns])
                begin += done.num_rows
            waiting = waiting[len(ready) :]
            newest_us = _last_us(before[-1])
            before = [t for t in before if _last_us(t) + horizon_us >= newest_us]


def _last_us(table: pa.Table) -> int:
    return int(table.column("event_timestamp").cast(pa.int64())[-1].as_py())


def _span_columns(definition: Label) -> list[str]:
    name = definition.column
    return [name, f"{name}_end"] if isinstance(definition, Barriers) else [name]


def _weights(table: pa.Table, definition: Label) -> pa.Array:
    symbols = table.column("symbol").to_numpy()
    start = table.column("event_timestamp").cast(pa.int64()).to_numpy()
    is_given = table.column(definition.column).is_valid().to_numpy()
    end = start + us_of_duration(definition.horizon)
    if isinstance(definition, Barriers):
        end = table.column(f"{definition.column}_end").cast(pa.int64()).fill_null(0).to_numpy()
    weight = np.full(len(start), np.nan)
    for symbol in dict.fromkeys(symbols):
        own = symbols == symbol
        given = own & is_given
        weight[given] = uniqueness(start[given], end[given], np.unique(start[own]))
    return pa.array(weight, mask=~is_given)


def _with_weights(table: pa.Table, definitions: Sequence[Label], columns: Sequence[pa.Array]) -> pa.Table:
    for definition, column in zip(definitions, columns, strict=True):
        table = table.append_column(f"{definition.column}_weight", column)
    return table
