"""Sizes as whole lots: their sums are exact, so a sum depends neither on the order of the trades nor on where it began."""

from __future__ import annotations

import math

from transforms.kernel import jit

_ALL_WHOLE = 2.0**52
"""Every double from here on is whole; far above it, the result of a floor does not fit an integer."""


@jit
def whole(x: float) -> float:
    """Return the whole number nearest to ``x >= 0``, halves rounded up."""
    return float(math.floor(x + 0.5)) if x < _ALL_WHOLE else x


@jit
def lots(size: float, scale: float) -> float:
    """Return ``size`` in lots of ``1/scale``, rounded to the nearest whole number."""
    return whole(size * scale)
