"""``market_hour``, ``day_of_week``, their cyclic encodings, ``is_weekend`` and ``minutes_to_funding``: functions of the row's time, UTC.

All but ``minutes_to_funding`` are never null: that is null for an instrument without funding.

Example: 2024-08-08 was a Thursday; 23:54:30 is five and a half minutes before the settlement at midnight:

>>> t_us = 1_723_161_270_000_000
>>> market_hour(t_us), day_of_week(t_us), is_weekend(t_us), minutes_to_funding(t_us, 0, 8 * HOUR_US)
(23, 3, 0.0, 5.5)
"""

from __future__ import annotations

import math

from transforms.catalog import TECHNICAL
from transforms.kernel import DAY_US, HOUR_US, MINUTE_US, NAN, Vector, jit

_MARKET_HOUR, _DAY_OF_WEEK = TECHNICAL.slots("market_hour", "day_of_week")
_HOUR_SIN, _HOUR_COS, _WEEKDAY_SIN, _WEEKDAY_COS = TECHNICAL.slots("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")
_IS_WEEKEND, _TO_FUNDING = TECHNICAL.slots("is_weekend", "minutes_to_funding")


@jit
def market_hour(t_us: int) -> int:
    """Return the hour of the day, 0 to 23."""
    return t_us // HOUR_US % 24


@jit
def day_of_week(t_us: int) -> int:
    """Return the weekday, Monday 0; the epoch was a Thursday."""
    return (t_us // DAY_US + 3) % 7


@jit
def is_weekend(t_us: int) -> float:
    """Return 1 on Saturday and Sunday, else 0."""
    return 1.0 if day_of_week(t_us) >= 5 else 0.0


@jit
def minutes_to_funding(t_us: int, told_us: int, every_us: int) -> float:
    """Return the minutes to the next settlement, in (0, 1440]; at a settlement itself, to the one after it.

    The next settlement is at ``told_us``, the time that the venue sent last, while that lies ahead by a day at most. Otherwise it is
    the next multiple of ``every_us`` since 00:00 UTC; NaN if that is 0, because the instrument has no funding that is known.
    """
    if t_us < told_us <= t_us + DAY_US:
        return (told_us - t_us) / MINUTE_US
    if every_us == 0:
        return NAN
    return (every_us - t_us % every_us) / MINUTE_US


@jit
def emit(t_us: int, funding_us: int, funding_every_us: int, out: Vector) -> None:
    """Write the features of this module.

    ``funding_us`` is the time of settlement that the venue sent last, 0 for none, and ``funding_every_us`` the time between two of them.
    """
    hour_angle = 2.0 * math.pi * (t_us % DAY_US // MINUTE_US) / 1440.0
    weekday_angle = 2.0 * math.pi * day_of_week(t_us) / 7.0
    out[_MARKET_HOUR] = float(market_hour(t_us))
    out[_DAY_OF_WEEK] = float(day_of_week(t_us))
    out[_HOUR_SIN] = math.sin(hour_angle)
    out[_HOUR_COS] = math.cos(hour_angle)
    out[_WEEKDAY_SIN] = math.sin(weekday_angle)
    out[_WEEKDAY_COS] = math.cos(weekday_angle)
    out[_IS_WEEKEND] = is_weekend(t_us)
    out[_TO_FUNDING] = minutes_to_funding(t_us, funding_us, funding_every_us)
