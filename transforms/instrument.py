"""What the kernels must know of a symbol beforehand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instrument:
    """Settings of one symbol; the defaults suit a symbol of which nothing is known.

    Attributes
    ----------
    size_digits:
        Decimal digits of a size. Sizes are summed as whole lots of ``10**-size_digits``, so that sums do not depend on their order;
        they are exact up to 2**53 lots.
    vpin_bucket:
        Volume V of a VPIN bucket, base units; None takes the average daily volume of the previous days over 50.
    profile_row:
        Height of a row of the volume profile, quote units; None takes 1, 2 or 5 times a power of ten,
        at most 1 bp of the session's first price.
    """

    size_digits: int = 8
    vpin_bucket: float | None = None
    profile_row: float | None = None
