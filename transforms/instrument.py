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
        they are exact up to 2**53 lots. See below for why they are not learnt.
    vpin_bucket:
        Volume V of a VPIN bucket, base units; None takes the average daily volume of the previous days over 50.
    profile_row:
        Height of a row of the volume profile, quote units; None takes 1, 2 or 5 times a power of ten,
        at most 1 bp of the session's first price.

    Notes
    -----
    A symbol without ``size_digits`` is counted in lots of 1e-8, the finest that a venue we know of quotes, and the digits that its
    decimal strings show are not learnt. There would be nothing to win: a sum of lots over lots a unit is the double nearest to the true
    sum, whichever lots of 1e-8 or coarser hold every size whole. And there would be something to lose: a ratio of products of sizes
    (``kyle_lambda_5m``, the spreads, the averages of price by volume) may differ in its last bit by the lot, so what was learnt on the
    way would show in values, and they would depend on when the process began to learn.

    Where sums pass 2**53 lots (9e7 units at 8 digits) they round in the 16th digit: set fewer digits for a coin that trades by the
    million. A trade of less than half a lot would count as nothing; it never reaches the kernels (``holds``).
    """

    size_digits: int = 8
    vpin_bucket: float | None = None
    profile_row: float | None = None

    def holds(self, size: float) -> bool:
        """Whether ``size`` is a lot at least, when rounded to lots.

        >>> Instrument().holds(1e-8), Instrument().holds(1e-9), Instrument(size_digits=2).holds(0.001)
        (True, False, False)
        """
        return size * 10.0**self.size_digits >= 0.5
