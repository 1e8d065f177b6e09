"""What may enter the kernels and what may leave them.

``check_book`` refuses a book before any state changes. ``check_ranges`` turns what left a kernel outside of its
catalogue range, or infinite, into null and counts it: such a value is a fault, and a null is better than a wrong
number.
"""

from __future__ import annotations

from math import inf, isnan

from transforms.catalog import View
from transforms.kernel import NAN, Vector, jit, vector
from transforms.microstructure.layout import MAX_LEVELS

OK = 0
EMPTY_SIDE = 1
NOT_FINITE = 2
NOT_POSITIVE = 3
OUT_OF_RANGE = 4
UNSORTED = 5
CROSSED = 6

BOOK_FAULTS: tuple[str, ...] = (
    "ok",
    "empty_side",
    "not_finite",
    "not_positive",
    "out_of_range",
    "unsorted",
    "crossed",
)
"""Name of each code that ``check_book`` returns."""

LARGEST = 1e15
"""A price or size above this is not a market's: sums of squares and products of 20 of them stay far from overflow."""


@jit
def _fault(price: float, size: float) -> int:
    """Code of a level that is not good: the first that fits, in the order of the constants."""
    if not (abs(price) < inf and abs(size) < inf):
        return NOT_FINITE
    if price <= 0.0 or size <= 0.0:
        return NOT_POSITIVE
    if price > LARGEST or size > LARGEST:
        return OUT_OF_RANGE
    return UNSORTED


@jit
def check_book(book: Vector, n_bid: int, n_ask: int) -> int:
    """Code of the first fault of a book, or ``OK``.

    Parameters
    ----------
    book:
        80 doubles: bid prices, bid sizes, ask prices, ask sizes, 20 each, best first.
    n_bid, n_ask:
        Levels used, 0 to 20.

    Returns
    -------
    int
        ``EMPTY_SIDE``: a side has no level. ``NOT_FINITE``, ``NOT_POSITIVE``, ``OUT_OF_RANGE`` (above 1e15): a price
        or size of the first bad level, bids before asks. ``UNSORTED``: that level's price is not worse than the one
        before it. ``CROSSED``: the best bid is at or above the best ask; only said of a book without another fault.
    """
    if n_bid <= 0 or n_ask <= 0:
        return EMPTY_SIDE
    before = inf
    for i in range(n_bid):
        price = book[i]
        size = book[MAX_LEVELS + i]
        if not (0.0 < price <= LARGEST and price < before and 0.0 < size <= LARGEST):
            return _fault(price, size)
        before = price
    before = 0.0
    for i in range(2 * MAX_LEVELS, 2 * MAX_LEVELS + n_ask):
        price = book[i]
        size = book[MAX_LEVELS + i]
        if not (before < price <= LARGEST and 0.0 < size <= LARGEST):
            return _fault(price, size)
        before = price
    return CROSSED if book[0] >= book[2 * MAX_LEVELS] else OK


def ranges(view: View) -> tuple[Vector, Vector]:
    """Lowest and highest value of each feature of ``view``, by slot, as ``check_ranges`` wants them."""
    return vector([f.low for f in view.features]), vector([f.high for f in view.features])


@jit
def check_ranges(out: Vector, low: Vector, high: Vector, counts: Vector) -> int:
    """Make every value of a row null that is infinite or outside ``[low, high]``, and count it.

    Parameters
    ----------
    out:
        A row that a kernel's ``emit`` wrote; changed in place.
    low, high:
        ``ranges`` of the row's view.
    counts:
        One number per slot, to which each refused value adds 1.

    Returns
    -------
    int
        How many values of this row were refused. A value that was null is not refused.
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
