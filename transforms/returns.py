"""The log return, guarded: the ratio of two extreme prices can overflow or underflow."""

from __future__ import annotations

import math

from transforms.kernel import NAN, jit


@jit
def log_ratio(new: float, old: float) -> float:
    """Return ``ln(new/old)`` of two positive prices, NaN where the ratio is 0 or infinite.

    >>> round(log_ratio(101.0, 100.0), 6), log_ratio(1e15, 5e-324)
    (0.00995, nan)
    """
    ratio = new / old
    if ratio <= 0.0 or ratio == math.inf:
        return NAN
    return math.log(ratio)
