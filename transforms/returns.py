"""The logarithm of a ratio of prices, guarded: a hostile pair of prices can over- or underflow the ratio."""

from __future__ import annotations

import math

from transforms.kernel import NAN, jit


@jit
def log_ratio(new: float, old: float) -> float:
    """``ln(new/old)`` of two positive prices; NaN where the ratio leaves the range of a double.

    >>> log_ratio(100.0, 100.0)
    0.0
    """
    ratio = new / old
    if ratio <= 0.0 or ratio == math.inf:
        return NAN
    return math.log(ratio)
