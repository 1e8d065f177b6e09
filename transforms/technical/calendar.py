"""market_hour, day_of_week, their cyclic encodings, is_weekend and minutes_to_funding: functions of the row's time, in UTC.

Only minutes_to_funding may know more: the venue's own time, where a message carried it.
"""

from __future__ import annotations

import math

from transforms.kernel import DAY_US, HOUR_US, MINUTE_US, jit

FUNDING_US = 8 * HOUR_US
"""Perpetual swaps settle funding at 00:00, 08:00 and 16:00 UTC on most venues."""


@jit
def market_hour(t_us: int) -> int:
    """Hour of the day, 0 to 23.

    >>> market_hour(1_723_161_255_000_000)  # 2024-08-08 23:54:15
    23
    """
    return t_us // HOUR_US % 24


@jit
def day_of_week(t_us: int) -> int:
    """Weekday, Monday 0; the epoch was a Thursday.

    >>> day_of_week(1_723_161_255_000_000)  # 2024-08-08, a Thursday
    3
    """
    return (t_us // DAY_US + 3) % 7


@jit
def hour_angle(t_us: int) -> float:
    """``2 pi (hour + minute/60)/24``: the day as a circle, by whole minutes."""
    return 2.0 * math.pi * (t_us % DAY_US // MINUTE_US) / 1440.0


@jit
def weekday_angle(t_us: int) -> float:
    """``2 pi day_of_week/7``: the week as a circle, by whole days."""
    return 2.0 * math.pi * day_of_week(t_us) / 7.0


@jit
def is_weekend(t_us: int) -> float:
    """1 on Saturday and Sunday, else 0."""
    return 1.0 if day_of_week(t_us) >= 5 else 0.0


@jit
def minutes_to_funding(t_us: int, told_us: int) -> float:
    """Minutes to the next settlement, in (0, 1440]: at a settlement itself, the one after it.

    It is at ``told_us``, the time that the venue told last, until that has passed; where that is past, or more than a day ahead, at the
    next of 00:00, 08:00 and 16:00 UTC.

    >>> minutes_to_funding(1_723_161_270_000_000, 0)  # 23:54:30
    5.5
    """
    if t_us < told_us <= t_us + DAY_US:
        return (told_us - t_us) / MINUTE_US
    return (FUNDING_US - t_us % FUNDING_US) / MINUTE_US
