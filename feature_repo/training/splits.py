"""Splits by time for labels that look ahead: purged, and embargoed after the test set.

A label of the time ``start`` is known at ``end``. A training sample whose span ``[start, end]`` overlaps the spans of the test set has seen
prices that the test labels have seen, so it is purged. Features look back, so samples that start shortly after the test set are similar to
it; the embargo leaves these out too. Source: Lopez de Prado 2018, sections 7.4.1 to 7.4.3, snippet 7.3.

The classes have the interface of scikit-learn's splitters, which need not be installed::

    folds = PurgedKFold(5, start_us, end_us, embargo=timedelta(minutes=5))
    cross_val_score(model, x, y, cv=folds)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from feature_repo.stores.errors import UserError
from transforms.times import us_of_duration

Ints = NDArray[np.int64]


class SplitError(UserError, ValueError):
    """The samples cannot be split so; the message says why."""


@dataclass(eq=False)
class _Spans:
    """Samples with the times at which they start and at which their labels are known, in any order.

    Parameters
    ----------
    n_splits : int
        How many test sets.
    start, end : array_like
        (n,) of each sample, in microseconds or as numpy datetimes; ``end`` is not before ``start``.
    embargo : timedelta, optional
        Training samples may not start in this time after the last label of the test set is known.
    """

    n_splits: int
    start: ArrayLike
    end: ArrayLike
    embargo: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        self.start, self.end = start, end = _us(self.start), _us(self.end)
        if start.shape != end.shape or start.ndim != 1:
            raise SplitError("start and end are one time for each sample")
        if (end < start).any():
            raise SplitError("a label is known before its sample starts")
        if self.embargo < timedelta(0):
            raise SplitError("the embargo must not be negative")
        parts = self._n_parts()
        if self.n_splits < 2 or len(np.unique(start)) < parts:
            raise SplitError(f"{parts} parts need as many different times, and 2 or more splits")

    def _n_parts(self) -> int:
        return self.n_splits

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of splits; the arguments are ignored."""
        return self.n_splits

    def _parts(self, X: Any) -> list[Ints]:
        """Return the samples of each part of the time, oldest first. Samples of one time are in one part."""
        start, end = np.asarray(self.start), np.asarray(self.end)
        n = len(start) if X is None else X.shape[0] if hasattr(X, "shape") else len(X)
        if n != len(start):
            raise SplitError(f"{n} samples are to be split, and {len(end)} have times")
        order = np.argsort(start, kind="stable")
        sizes = [len(part) for part in np.array_split(order, self._n_parts())]
        # An edge inside of samples of one time moves to the first of them.
        edges = np.searchsorted(start[order], start[order][np.cumsum(sizes)[:-1]])
        parts = np.split(order, edges)
        if not all(len(part) for part in parts):
            raise SplitError(f"too many samples have one time for {self._n_parts()} parts")
        return parts


class PurgedKFold(_Spans):
    """Folds of consecutive samples. The training set is all other samples, purged before and after the test set, embargoed after it.

    Of ``n_splits`` folds each is the test set once. A sample is trained on if its label is known at or before the first start of the test
    set, or if it starts when the last label of the test set is known and the embargo is over.

    Examples
    --------
    >>> start = np.arange(6)
    >>> for train, test in PurgedKFold(3, start, start + 2).split():
    ...     print(train.tolist(), test.tolist())
    [3, 4, 5] [0, 1]
    [0, 5] [2, 3]
    [0, 1, 2] [4, 5]
    """

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[tuple[Ints, Ints]]:
        """Yield the numbers of the samples of each training and test set, in the order of the samples."""
        start, end = np.asarray(self.start), np.asarray(self.end)
        for test in self._parts(X):
            before = end <= start[test].min()
            after = _from_after(start, end[test].max(), self.embargo)
            before[test] = after[test] = False
            yield np.flatnonzero(before | after), np.sort(test)


class PurgedWalkForward(_Spans):
    """Test sets in order of time, each trained on what was known before it, as a model in use is.

    The samples are cut into ``n_splits + 1`` parts of consecutive samples. Each but the first is the test set once, and the training set
    is every sample whose label is known at or before its first start, less the embargo.

    Examples
    --------
    >>> start = np.arange(6)
    >>> for train, test in PurgedWalkForward(2, start, start + 2).split():
    ...     print(train.tolist(), test.tolist())
    [0] [2, 3]
    [0, 1, 2] [4, 5]
    """

    def _n_parts(self) -> int:
        return self.n_splits + 1

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[tuple[Ints, Ints]]:
        """Yield the numbers of the samples of each training and test set, in the order of the samples."""
        start, end = np.asarray(self.start), np.asarray(self.end)
        for test in self._parts(X)[1:]:
            known = end <= start[test].min() - us_of_duration(self.embargo)
            known[test] = False
            yield np.flatnonzero(known), np.sort(test)


def _from_after(start: Ints, known: int, embargo: timedelta) -> NDArray[np.bool_]:
    """Return which samples start when the test labels are known and the embargo is over."""
    return start >= known + us_of_duration(embargo)


def _us(times: ArrayLike) -> Ints:
    array = np.asarray(times)
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]")
    if array.dtype.kind not in "iuM":
        raise SplitError("times are whole microseconds or numpy datetimes")
    return array.astype(np.int64)
