"""What the kernels must know of a symbol before its first message."""

from __future__ import annotations

from dataclasses import dataclass

from transforms.sessions import SessionClock


@dataclass(frozen=True, slots=True)
class Instrument:
    """Settings of one symbol; the defaults suit a symbol that nothing is known of.

    Attributes
    ----------
    size_digits : int
        Decimal digits of a size. Sizes are summed as whole lots of ``10**-size_digits``, so that a sum does not depend on the order.
        Sums above 2**53 lots (9e7 units at 8 digits) are rounded in the 16th digit: set fewer digits for a coin that trades by the
        million. A lot of 1e-8 is the finest that a venue we know of quotes.
    vpin_bucket : float or None
        Volume V of a VPIN bucket, base units. None: the average daily volume of the previous days over 50.
    profile_row : float or None
        Height of a row of the volume profile, quote units. None: the largest of 1, 2, 5 times a power of ten that is at most 1 bp of
        the session's first price.
    session_timezone, session_open : str
        Time zone (IANA name) and local time at which a session begins, such as ``America/New_York`` and ``09:30``; UTC days by default.

    Raises
    ------
    ValueError
        The time zone is not known, or the opening is no time.

    Notes
    -----
    The digits that the decimal strings of messages show are not learnt, for two reasons. Learning would gain nothing: a sum of lots
    over lots per unit is the double nearest to the true sum, for lots of 1e-8 and for any coarser lot that every size is a multiple
    of. And learning would do harm: a ratio of products of sizes (``kyle_lambda_5m``, the spreads, the averages of price by volume) may
    differ in its last bit with the lot, so these values would depend on when the process began to learn.
    """

    size_digits: int = 8
    vpin_bucket: float | None = None
    profile_row: float | None = None
    session_timezone: str = "UTC"
    session_open: str = "00:00"

    def __post_init__(self) -> None:
        self.session_clock()

    def holds(self, size: float) -> bool:
        """Return whether ``size`` is at least one lot when rounded to lots; a smaller trade is refused before the kernels.

        >>> Instrument().holds(1e-8), Instrument().holds(1e-9), Instrument(size_digits=2).holds(0.001)
        (True, False, False)
        """
        return size * 10.0**self.size_digits >= 0.5

    def session_clock(self) -> SessionClock | None:
        """Return the sessions of this instrument, None where they are UTC days.

        >>> Instrument().session_clock() is None, Instrument(session_open="17:00").session_clock() is None
        (True, False)
        """
        if (self.session_timezone, self.session_open) == ("UTC", "00:00"):
            return None
        return SessionClock(self.session_timezone, self.session_open)
