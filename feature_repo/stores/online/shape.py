"""Which fields of a hash a request reads, and the tables of numbers that its replies become."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_repo.stores.online.format import (
    DOUBLE_TAG,
    INT64_TAG,
    feature_field,
    time_field,
    varint,
)
from feature_repo.stores.online.record import (
    EVENT_AT,
    HEAD_WORDS,
    HEARD_AT,
    KEY_AT,
    VALUES_AT,
    WORD,
    Doubles,
    Ints,
    Layout,
)

PRESENT: Final = 1  # numbers of Feast's FieldStatus
NOT_FOUND: Final = 3
OUTSIDE_MAX_AGE: Final = 4

_HERE, _LATE = np.uint8(PRESENT), np.uint8(OUTSIDE_MAX_AGE)
_NO_TTL_US: Final = 2**62

Statuses = npt.NDArray[np.uint8]

Reply = Sequence[bytes | None]
"""Values of the requested fields of one hash, in order; None where a field is absent."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The hash fields of a request, as names and as bytes of Redis's protocol."""

    names: tuple[bytes, ...]
    wire: bytes

    @classmethod
    def of(cls, names: Iterable[bytes]) -> Fields:
        """Return the fields of these names."""
        names = tuple(names)
        return cls(names, b"".join(b"$%d\r\n%b\r\n" % (len(name), name) for name in names))


@dataclass(frozen=True, slots=True)
class Asked:
    """One view of a request."""

    view: str
    features: tuple[str, ...]
    layout: Layout | None  # of its records; None: it has none, and each feature is read by itself
    ttl_us: int = 0  # how long its values may be served; 0: without end

    @property
    def plain(self) -> tuple[bytes, ...]:
        """The fields of a row without a record: the features in order, then the event time."""
        return (*(feature_field(self.view, name) for name in self.features), time_field(self.view))


@dataclass(slots=True)
class Table:
    """What a request found: rows of the entities, a column per feature in the order of the request.

    Attributes
    ----------
    statuses : ndarray of uint8, shape (n, n_views)
        Numbers of Feast's ``FieldStatus``.
    event_us : ndarray of int64, shape (n, n_views)
        Event times; 0 where no row is.
    values : ndarray of float64, shape (n, n_features)
        NaN is null. A value whose status is not ``PRESENT`` is null.
    cells : dict
        By column, serialised values, in place of those of `values`: where a double does not say exactly what is stored.
    """

    shape: Shape
    statuses: Statuses
    event_us: Ints
    values: Doubles
    cells: dict[int, list[bytes]] = field(default_factory=dict)

    def take(self, order: Sequence[int] | None) -> Table:
        """Return the table with a row for each index in `order`; None leaves it as it is."""
        if order is None:
            return self
        cells = {j: [column[i] for i in order] for j, column in self.cells.items()}
        return Table(self.shape, self.statuses[order], self.event_us[order], self.values[order], cells)

    def serialised(self, j: int) -> list[bytes]:
        """Return a column as serialised ``Value`` messages; null has no bytes."""
        if j in self.cells:
            return self.cells[j]
        column = self.values[:, j]
        if self.shape.is_int[j]:
            return [INT64_TAG + varint(int(v)) if v == v else b"" for v in column.tolist()]
        raw = column.astype("<f8", copy=False).tobytes()
        return [DOUBLE_TAG + raw[8 * i : 8 * i + 8] if v == v else b"" for i, v in enumerate(column.tolist())]


class Shape:
    """Which fields a request reads, and where in the replies everything stands.

    Parameters
    ----------
    asked : tuple of Asked
        The views.
    order : tuple of int, optional
        The columns in the order in which they are wanted, as indices into the features of all views in turn.
    """

    def __init__(self, asked: tuple[Asked, ...], order: tuple[int, ...] | None = None) -> None:
        self.asked = asked
        columns = [(v, name) for v, one in enumerate(asked) for name in one.features]
        columns = self.columns = columns if order is None else [columns[i] for i in order]
        self.view_of = np.array([v for v, _ in columns], np.intp)
        self.of_view = [[j for j, (w, _) in enumerate(columns) if w == v] for v in range(len(asked))]
        self.first: list[int] = []  # where the fields of each view begin in a reply
        names: list[bytes] = []
        for one in asked:
            self.first.append(len(names))
            names += one.plain if one.layout is None else [time_field(one.view)]
        self.fields = Fields.of(names)
        layouts = self.layouts = {v: one.layout for v, one in enumerate(asked) if one.layout is not None}
        begin = dict(
            zip(layouts, np.cumsum([0, *(layout.n_words for layout in layouts.values())]).tolist(), strict=False)
        )
        self.recorded = list(layouts)  # the views that may have records
        self.size = sum(layout.size for layout in layouts.values())
        self._keys = np.array([layout.key for layout in layouts.values()], np.int64)
        self._key_at, self._event_at, self._heard_at = (
            np.array([begin[v] + at for v in layouts], np.intp) for at in (KEY_AT, EVENT_AT, HEARD_AT)
        )
        self._head_at = np.array([[begin[v] + i for i in range(HEAD_WORDS)] for v in layouts], np.intp)
        where = {
            j: begin[v] + VALUES_AT + layouts[v].index[name] for j, (v, name) in enumerate(columns) if v in layouts
        }
        self._column, self._value_at = np.array(list(where), np.intp), np.array(list(where.values()), np.intp)
        self.is_int = [v in layouts and layouts[v].dtypes[layouts[v].index[n]] == "Int64" for v, n in columns]
        self._ttl_us = np.array([one.ttl_us or _NO_TTL_US for one in asked], np.int64)

    def words(self, raw: bytes, n: int) -> Ints:
        """Return the records of `n` entities, a line each."""
        return np.frombuffer(raw, "<i8").reshape(n, self.size // WORD)

    def words_of(self, replies: Sequence[Reply]) -> Ints | None:
        """Return the records of all rows as whole numbers, a line per entity; None if a row has no record."""
        if len(self.recorded) < len(self.asked):
            return None
        try:
            raw = b"".join(chain.from_iterable(replies))  # type: ignore[arg-type]
        except TypeError:  # a field is absent
            return None
        if len(raw) != len(replies) * self.size:
            return None
        words = self.words(raw, len(replies))
        others = np.count_nonzero(np.take(words, self._key_at, axis=1) != self._keys)  # quicker than ``any``
        return None if others else words

    def times(self, words: Ints) -> tuple[Ints, Ints]:
        """Return the event times and the times of the feeds' last messages, of all views; 0 in those without records."""
        if len(self.recorded) == len(self.asked):
            return np.take(words, self._event_at, axis=1), np.take(words, self._heard_at, axis=1)
        event_us, heard_us = np.zeros((2, len(words), len(self.asked)), np.int64)
        event_us[:, self.recorded] = words[:, self._event_at]
        heard_us[:, self.recorded] = words[:, self._heard_at]
        return event_us, heard_us

    def heads(self, words: Ints) -> Ints:
        """Return what the time fields of all views begin with; zeros in those without records."""
        if len(self.recorded) == len(self.asked):
            return np.take(words, self._head_at, axis=1)
        heads = np.zeros((len(words), len(self.asked), HEAD_WORDS), np.int64)
        if self.recorded:
            heads[:, self.recorded] = words[:, self._head_at]
        return heads

    def statuses(self, heard_us: Ints, now_us: int | None) -> Statuses:
        """Return which rows may be served: those of which the feed sent a message within the ttl before `now_us`, or all."""
        if now_us is None:
            return np.full(heard_us.shape, PRESENT, np.uint8)
        return np.where(heard_us < now_us - self._ttl_us, _LATE, _HERE)

    def values(self, words: Ints) -> Doubles:
        """Return the columns; NaN in those of views without records."""
        doubles = words.view("<f8")
        if len(self._column) == len(self.view_of):
            return np.take(doubles, self._value_at, axis=1)
        values = np.full((len(words), len(self.view_of)), np.nan)
        values[:, self._column] = doubles[:, self._value_at]
        return values
