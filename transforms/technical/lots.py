"""Sizes as whole lots: sums of them are exact, so they depend neither on order nor on where they began."""

from __future__ import annotations

import math

from transforms.kernel import jit

MOST = 2.0**53
"""More lots than this in one trade are taken for this many; no venue trades them, and a double counts no further."""


@jit
def lots(size: float, scale: float) -> float:
    """``size`` in lots of ``1/scale``, the nearest whole number.

    >>> lots(0.29, 100.0)
    29.0
    """
    x = size * scale + 0.5
    return float(math.floor(x)) if x < MOST else MOST
