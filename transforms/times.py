"""Times as whole microseconds or milliseconds since 1970 UTC, and as aware datetimes, converted exactly.

Seconds as a float are not used: they hold a microsecond of our age only by rounding.

>>> at = datetime_of_us(1_500_999)
>>> at.isoformat(), us_of_datetime(at), ms_of_datetime(at), iso_of_us(1_500_999)
('1970-01-01T00:00:01.500999+00:00', 1500999, 1500, '1970-01-01T00:00:01.500+00:00')
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DATE: Final = EPOCH.date()
_MICROSECOND: Final = timedelta(microseconds=1)
_MILLISECOND: Final = timedelta(milliseconds=1)


def datetime_of_us(us: int) -> datetime:
    """Return the UTC datetime of microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=us)


def datetime_of_ms(ms: int) -> datetime:
    """Return the UTC datetime of milliseconds since the epoch."""
    return EPOCH + timedelta(milliseconds=ms)


def us_of_datetime(at: datetime) -> int:
    """Return the microseconds since the epoch of an aware datetime."""
    return (at - EPOCH) // _MICROSECOND


def ms_of_datetime(at: datetime) -> int:
    """Return the whole milliseconds since the epoch of an aware datetime; the rest is cut."""
    return (at - EPOCH) // _MILLISECOND


def us_of_iso(text: str) -> int:
    """Return the whole microseconds since the epoch of ISO 8601 text, UTC if it names no zone; raise ``ValueError`` for other text.

    >>> us_of_iso("1970-01-01T01:00:00+01:00"), us_of_iso("1970-01-01 00:00:01.000250")
    (0, 1000250)
    """
    at = datetime.fromisoformat(text.strip())
    return us_of_datetime(at if at.tzinfo else at.replace(tzinfo=UTC))


def us_of_duration(duration: timedelta) -> int:
    """Return the whole microseconds of a duration."""
    return duration // _MICROSECOND


def iso_of_us(us: int) -> str:
    """Return microseconds since the epoch as ISO 8601 text, cut to milliseconds."""
    return datetime_of_us(us).isoformat(timespec="milliseconds")


def date_of_day(day: int) -> date:
    """Return the date of a number of days since the epoch."""
    return _EPOCH_DATE + timedelta(days=day)


def day_of_date(at: date) -> int:
    """Return the days since the epoch of a date."""
    return (at - _EPOCH_DATE).days
