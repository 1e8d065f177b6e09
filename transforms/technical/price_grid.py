"""Rows of the price axis: row ``r`` holds the prices of ``[r*h, (r + 1)*h)``.

A height is a fraction ``num/den`` of whole numbers, because no double equals 0.05. With a fraction, 0.15 is the first price of row 3,
and an edge is the double that its decimal reads as:

>>> fraction(0.05), row_of(0.15, 1.0, 20.0), row_of(0.1499, 1.0, 20.0), edge(3.0, 1.0, 20.0)
((1.0, 20.0), 3.0, 2.0, 0.15)
"""

from __future__ import annotations

import math
from decimal import Decimal

from transforms.kernel import jit

FARTHEST = 2.0**50
"""Prices beyond this row are put into it."""

_NEAR = 1e-12
_LARGEST_POWER = 1e18


def fraction(height: float) -> tuple[float, float]:
    """Return a configured height as ``(num, den)``; raise ``ValueError`` if it is not a finite positive number."""
    if not (math.isfinite(height) and height > 0.0):
        raise ValueError(f"a row of the volume profile must have a finite height above 0, not {height!r}")
    num, den = Decimal(repr(float(height))).as_integer_ratio()
    return float(num), float(den)


@jit
def default_height(price: float) -> tuple[float, float]:
    """Return the largest of 1, 2, 5 times a power of ten that is at most 1 bp of ``price``; powers from 1e-18 to 1e18."""
    most = price / 10_000.0 * (1.0 + _NEAR)
    num = 1.0
    den = 1.0
    while num * 10.0 <= most and num < _LARGEST_POWER:
        num *= 10.0
    while num / den > most and den < _LARGEST_POWER:
        den *= 10.0
    if 5.0 * num / den <= most:
        return 5.0 * num, den
    if 2.0 * num / den <= most:
        return 2.0 * num, den
    return num, den


@jit
def row_of(price: float, num: float, den: float) -> float:
    """Return the row of ``price``, a whole number; a price within rounding of an edge is on the edge."""
    x = price * den / num
    if not x < FARTHEST:
        return FARTHEST
    nearest = float(math.floor(x + 0.5))
    if abs(x - nearest) <= _NEAR * x:
        return nearest
    return float(math.floor(x))


@jit
def edge(row: float, num: float, den: float) -> float:
    """Return the lower edge of ``row``; of ``row + 0.5``, its middle."""
    return row * num / den
