"""V, the volume of a VPIN bucket: configured, or a fiftieth of the average daily volume.

Where it is not configured, V is fixed when a session begins: the mean volume of the previous days over 50, rounded to whole lots, at
least one. A day is a session, at 00:00 UTC unless the instrument says otherwise. Previous days are those of the last 28 that were heard
from their beginning (``sessions``: from their first 5 minutes on) without a hole in the trades, and had volume: a day without volume is a
holiday or an outage. Until there is such a day, V is unknown.

State, from offset ``o``::

    o + V            V in lots, 0 while unknown
    o + CONFIGURED   configured V in lots, 0 where it comes from the previous days
    o + DAYS         ring of 28 days: lots, 0 where the day was not heard whole

Example: Days of 900 and 1100 lots have the mean 1000, a fiftieth of it is 20:

>>> from transforms.kernel import zeros
>>> state = zeros(SIZE)
>>> init(state, 0, configured=None, scale=1.0)
>>> close_day(state, 0, 1, 900.0)
>>> close_day(state, 0, 2, 1100.0)
>>> open_day(state, 0, 3)
>>> float(state[V])
20.0
"""

from __future__ import annotations

from transforms import window
from transforms.kernel import DAY_US, Vector, jit
from transforms.lots import whole

BUCKETS_A_DAY = 50
MAX_DAYS = 28

V, CONFIGURED, DAYS = range(3)
SIZE = DAYS + window.size(MAX_DAYS, 1)


def init(state: Vector, o: int, configured: float | None, scale: float) -> None:
    """Set V to ``configured`` base units; None lets it follow from the days. Raise ``ValueError`` if it is not at least one lot."""
    if configured is None:
        return
    lots = whole(configured * scale)
    if lots < 1.0:
        raise ValueError(f"a VPIN bucket of {configured} is less than one lot of {1 / scale}")
    state[o + V] = state[o + CONFIGURED] = float(lots)


@jit
def close_day(state: Vector, o: int, day: int, lots: float) -> None:
    """Keep the volume of ``day`` (days since the epoch), which was heard whole."""
    window.advance(state, o + DAYS, MAX_DAYS, 1, day)
    state[window.slot(o + DAYS, MAX_DAYS, 1, day)] = lots


@jit
def open_day(state: Vector, o: int, day: int) -> None:
    """Fix V for ``day`` from the 28 days before it."""
    window.advance(state, o + DAYS, MAX_DAYS, 1, day - 1)
    lots = 0.0
    days = 0
    for i in range(MAX_DAYS):
        of_day = state[o + DAYS + window.BUCKETS + i]
        if of_day > 0.0:
            lots += of_day
            days += 1
    state[o + V] = max(1.0, whole(lots / (days * BUCKETS_A_DAY))) if days else 0.0


@jit
def forget(state: Vector, o: int, day: int, age_us: float) -> None:
    """Leave out the days before ``day`` that reach into the last ``age_us`` before it: trades of them are missing, as it turns out."""
    if not state[o + DAYS] > 0.0:
        return
    days = int(-(-age_us // DAY_US))
    for i in range(max(day - days, int(state[o + DAYS]) - MAX_DAYS + 1), min(day, int(state[o + DAYS]) + 1)):
        state[window.slot(o + DAYS, MAX_DAYS, 1, i)] = 0.0
