"""What may enter the kernels, and what may leave them.

``check_book`` refuses a bad book before any state changes. ``check_ranges`` makes a value null that left a kernel infinite or outside
the range of the catalogue, and counts it: such a value is a fault of ours, and a null does less harm than a wrong number.
"""

from __future__ import annotations

from math import inf, isnan

from transforms.catalog import View
from transforms.kernel import NAN, Vector, jit, vector
from transforms.limits import MAX_NUMBER
from transforms.microstructure.layout import capacity

OK, EMPTY_SIDE, NOT_FINITE, NOT_POSITIVE, OUT_OF_RANGE, UNSORTED, CROSSED = range(7)


@jit
def _fault(price: float, size: float) -> int:
    """Return the code of a bad level: the first that fits, in the order of the constants."""
    if not (abs(price) < inf and abs(size) < inf):
        return NOT_FINITE
    if price <= 0.0 or size <= 0.0:
        return NOT_POSITIVE
    if price > MAX_NUMBER or size > MAX_NUMBER:
        return OUT_OF_RANGE
    return UNSORTED


@jit
def check_book(book: Vector, n_bid: int, n_ask: int) -> int:
    """Return the code of the first fault of a book, or ``OK``.

    Parameters
    ----------
    book : Vector
        A flat or deep book, as ``transforms.microstructure.layout`` draws it.
    n_bid, n_ask : int
        Levels in use.

    Returns
    -------
    int
        ``EMPTY_SIDE``: a side has no level. ``NOT_FINITE``, ``NOT_POSITIVE``, ``OUT_OF_RANGE`` (above ``MAX_NUMBER``): a price or size of
        the first bad level, bids before asks. ``UNSORTED``: the price of that level is not worse than the one before it. ``CROSSED``:
        the best bid is at or above the best ask, and the book has no other fault.

    Examples
    --------
    >>> from transforms.microstructure.layout import empty, fill
    >>> book = empty(1)
    >>> check_book(book, *fill(book, [(101.0, 1.0)], [(100.0, 1.0)])) == CROSSED
    True
    """
    if n_bid <= 0 or n_ask <= 0:
        return EMPTY_SIDE
    room = capacity(book)
    asks = 2 * room
    before = inf
    for i in range(n_bid):
        price = book[i]
        size = book[room + i]
        if not (0.0 < price <= MAX_NUMBER and price < before and 0.0 < size <= MAX_NUMBER):
            return _fault(price, size)
        before = price
    before = 0.0
    for i in range(n_ask):
        price = book[asks + i]
        size = book[asks + room + i]
        if not (before < price <= MAX_NUMBER and 0.0 < size <= MAX_NUMBER):
            return _fault(price, size)
        before = price
    return CROSSED if book[0] >= book[asks] else OK


def ranges(view: View) -> tuple[Vector, Vector]:
    """Return the lowest and the highest value of each feature of ``view``, by slot, for ``check_ranges``."""
    return vector([f.low for f in view.features]), vector([f.high for f in view.features])


@jit
def check_ranges(out: Vector, low: Vector, high: Vector, counts: Vector) -> int:
    """Make every value of a row null that is infinite or outside ``[low, high]``, and count it.

    Parameters
    ----------
    out : Vector
        A row that a kernel's ``emit`` wrote; it is changed in place.
    low, high : Vector
        ``ranges`` of the row's view.
    counts : Vector
        One number a slot; each refused value adds 1 to its own.

    Returns
    -------
    int
        How many values of this row were refused. A value that was null already is not refused.
    """
    refused = 0
    for i in range(len(low)):
        x = out[i]
        if isnan(x) or (low[i] <= x <= high[i] and abs(x) < inf):
            continue
        out[i] = NAN
        counts[i] += 1.0
        refused += 1
    return refused
