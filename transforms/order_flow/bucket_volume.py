"""V, the volume of a VPIN bucket: configured, or a fiftieth of the average daily volume.

Where it is not configured, V of a UTC day is the mean volume of the previous days over 50, rounded to whole lots (one
at least), fixed at 00:00. Previous days are those of the last 28 that were seen whole (the first trade ever seen lies
at or before their 00:00) and had volume: a day without any is a holiday or an outage, not a day's volume. Until there
is one, V is unknown.

::

    o          V in lots, 0 while unknown
    o + AUTO   1 where V comes from the previous days, 0 where it is configured
    o + DAYS   ring of 28 days: lots, 0 where the day was not seen whole
"""

from __future__ import annotations

from transforms import window
from transforms.kernel import Vector, jit
from transforms.lots import whole

BUCKETS_A_DAY = 50
MAX_DAYS = 28

AUTO = 1
_DAYS = 2
SIZE = _DAYS + window.size(MAX_DAYS, 1)


def init(state: Vector, o: int, configured: float | None, scale: float) -> None:
    """Set V to ``configured`` base units, or have it found from the days.

    Raises
    ------
    ValueError
        The configured volume is not at least one lot.
    """
    if configured is None:
        state[o + AUTO] = 1.0
        return
    lots = whole(configured * scale)
    if lots < 1.0:
        raise ValueError(f"a VPIN bucket of {configured} is less than one lot of {1 / scale}")
    state[o] = float(lots)


@jit
def close_day(state: Vector, o: int, day: int, lots: float) -> None:
    """Note the volume of ``day`` (days since the epoch), which was seen whole."""
    window.advance(state, o + _DAYS, MAX_DAYS, 1, day)
    state[window.slot(o + _DAYS, MAX_DAYS, 1, day)] = lots


@jit
def open_day(state: Vector, o: int, day: int) -> None:
    """Fix V for ``day`` from the 28 days before it."""
    window.advance(state, o + _DAYS, MAX_DAYS, 1, day - 1)
    lots = 0.0
    days = 0
    for i in range(MAX_DAYS):
        of_day = state[o + _DAYS + 1 + i]
        if of_day > 0.0:
            lots += of_day
            days += 1
    state[o] = max(1.0, whole(lots / (days * BUCKETS_A_DAY))) if days else 0.0
