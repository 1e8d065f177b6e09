"""Sizes as whole lots."""

from __future__ import annotations

import math

from transforms.kernel import jit

_ALL_WHOLE = 2.0**52
"""Every double from here on is whole; far above it a floor would not fit an integer."""


@jit
def whole(x: float) -> float:
    """The whole number nearest to ``x >= 0``, halves up.

    >>> float(whole(2.5)), float(whole(0.49)), float(whole(1e25))
    (3.0, 0.0, 1e+25)
    """
    return float(math.floor(x + 0.5)) if x < _ALL_WHOLE else x
