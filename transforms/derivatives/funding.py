"""``funding_rate`` and ``funding_annualised``: what longs pay to shorts at the next settlement, as a share of the position.

    funding_annualised = funding_rate * 8760/h, h the hours between two settlements (``funding_hours`` of the instrument)

It is not compounded. Null: no rate was told in 5 min, or the settlement that it was told for has passed; ``funding_annualised`` also where
an instrument has no ``funding_hours``. ``minutes_to_funding`` of this view is that of ``technical``, from the same state.

Example: A hundredth of a percent every 8 hours is 10.95 percent a year:

>>> from transforms.example import HandFeed
>>> feed = HandFeed(funding_hours=8)
>>> feed.derivatives(0, funding_rate=0.0001)
>>> feed.value("funding_rate", at=0), round(feed.value("funding_annualised", at=0), 6)
(0.0001, 0.1095)
"""

from __future__ import annotations

from transforms.catalog import DERIVATIVES
from transforms.derivatives import told
from transforms.kernel import Vector, jit

_RATE, _ANNUALISED, _TO_FUNDING = DERIVATIVES.slots("funding_rate", "funding_annualised", "minutes_to_funding")
_HOURS_A_YEAR = 8760.0


@jit
def emit(state: Vector, t_us: int, minutes: float, out: Vector) -> None:
    """Write the features of this module; ``minutes`` are those to the next settlement, NaN where it is not known."""
    rate = told.rate(state, t_us)
    out[_RATE] = rate
    if state[told.FUNDING_HOURS] > 0.0:
        out[_ANNUALISED] = rate * (_HOURS_A_YEAR / state[told.FUNDING_HOURS])
    out[_TO_FUNDING] = minutes
