"""Values of row groups of the lake, put into a result: gathered from whole columns, or each read alone where few are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feature_repo.stores.offline.join.gather import Columns
from feature_repo.stores.offline.lake import read
from feature_repo.stores.offline.lake.sources import Group

SPARSE: Final = 64  # rows for each one that is asked for, from which on values are read one by one
TOGETHER: Final = 8  # columns of which one step then reads the values

_Ints = NDArray[np.int64]


def puts(
    view: read.View, groups: Sequence[Group], features: Sequence[str], into: Columns, rows: _Ints, at: _Ints
) -> Iterator[Callable[[], None]]:
    """Yield steps that put the values of row groups at positions `at` into `rows` of the result, each step some columns.

    A column is a step of its own where it is read whole. From a far storage all columns are read together.
    """
    if len(rows) > 1 and (np.diff(rows) < 0).any():  # to write in order is quicker than to read in order
        position = np.full(int(rows.max()) + 1, -1, np.int64)
        position[rows] = at
        rows = np.flatnonzero(position >= 0)
        at = position[rows]
    begins = np.cumsum([0, *(group.rows for group in groups)])
    spare: list[
        NDArray[np.float64]
    ] = []  # one for each thread: new memory for each column would take as long as the values

    def together() -> None:
        found = view.read(groups, features)
        for index in range(len(features)):
            into.put_taken(index, rows, *read.numbers_of(found.column(index)), at)

    def whole(index: int) -> None:
        try:
            buffer = spare.pop()
        except IndexError:
            buffer = np.empty(begins[-1])
        into.put_taken(index, rows, *view.column(groups, features[index], buffer), at)
        spare.append(buffer)

    def alone(first: int, last: int) -> None:
        found = view.values(groups, features[first:last], group_of, at - begins[group_of])
        for index, values in enumerate(found, first):
            if values is None:
                whole(index)
            else:
                into.put_values(index, rows, *values)

    if view.is_far:
        yield together
    elif len(at) * SPARSE < begins[-1]:
        group_of = np.searchsorted(begins, at, side="right") - 1
        yield from (partial(alone, i, min(i + TOGETHER, len(features))) for i in range(0, len(features), TOGETHER))
    else:
        yield from (partial(whole, index) for index in range(len(features)))
