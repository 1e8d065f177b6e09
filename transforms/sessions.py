"""Sessions: when they begin, and whether one was heard from its beginning.

A session is a UTC day, or a day of the instrument's own time zone and opening. A value that is summed since the beginning of a session is
null until a session was heard from its beginning, because a part of a session looks just like a whole one. A session was heard from its
beginning if

- a trade came within its first 5 minutes (the trades of these minutes before it may be missing), or
- a trade came within the day before it, so that the symbol was listened to before it began.

Books prove nothing here, because a venue may send them while its trades are silent. From a hole in the trades (``holes``) until the
session ends its values are null too.

Example: New York's stock exchange opens at 09:30, which is 14:30 UTC in winter and 13:30 UTC in summer. The session that holds Sunday,
2024-03-10, on which the clocks change, is 23 hours long:

>>> from transforms.times import iso_of_us
>>> clock = SessionClock("America/New_York", "09:30")
>>> start_us, end_us, _ = clock.session(1_710_000_000_000_000)
>>> iso_of_us(start_us), iso_of_us(end_us)
('2024-03-09T14:30:00.000+00:00', '2024-03-10T13:30:00.000+00:00')
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from transforms.kernel import DAY_US, MINUTE_US, Vector, jit
from transforms.times import datetime_of_us, day_of_date, us_of_datetime

TOLERANCE_US = 5 * MINUTE_US
"""How late the first trade of a session may be heard."""

START_US, END_US, DAY, HEARD, SIZE = range(5)
"""State: begin and end of the open session, µs, both 0 before the first; its date as days since the epoch; 1 if it was heard from its
beginning."""

_ONE_DAY = timedelta(days=1)


class SessionClock:
    """The sessions of an instrument that names its own; raise ``ValueError`` if the zone is not known or the opening is no time.

    Parameters
    ----------
    zone : str
        An IANA time zone, such as ``America/New_York``.
    opening : str
        Local time at which a session begins, ``HH:MM``; it lasts until the next one.
    """

    def __init__(self, zone: str, opening: str) -> None:
        try:
            self._zone = ZoneInfo(zone)
        except (OSError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError
            raise ValueError(f"session_timezone = {zone!r:.60} is not a time zone") from error
        except KeyError:
            raise ValueError(
                f"session_timezone = {zone!r:.60} is not known here; use a name such as Europe/London"
            ) from None
        try:
            self._opening = time.fromisoformat(opening)
        except ValueError:
            raise ValueError(f"session_open = {opening!r:.60} is not a time such as 09:30") from None
        if self._opening.tzinfo is not None:
            raise ValueError(f"session_open = {opening!r:.60} is local time; name the zone in session_timezone")

    def session(self, t_us: int) -> tuple[int, int, int]:
        """Return begin, end (µs) and date (days since the epoch) of the session that holds ``t_us``."""
        day = datetime_of_us(t_us).astimezone(self._zone).date()
        if t_us < self._opens(day):
            day -= _ONE_DAY
        return self._opens(day), self._opens(day + _ONE_DAY), day_of_date(day)

    def _opens(self, day: date) -> int:
        return us_of_datetime(datetime.combine(day, self._opening, self._zone).astimezone(UTC))


@jit
def utc_day(t_us: int) -> tuple[int, int, int]:
    """Return begin, end (µs) and date (days since the epoch) of the UTC day that holds ``t_us``."""
    day = t_us // DAY_US
    return day * DAY_US, (day + 1) * DAY_US, day


@jit
def start(state: Vector, o: int, start_us: int, end_us: int, day: int, newest_us: float) -> None:
    """Begin a session; ``newest_us`` is the time of the newest trade before it, 0 if there is none."""
    follows = state[o + END_US] <= start_us  # not so where the instrument's sessions were changed
    state[o + START_US] = float(start_us)
    state[o + END_US] = float(end_us)
    state[o + DAY] = float(day)
    state[o + HEARD] = 1.0 if follows and newest_us > 0.0 and newest_us >= start_us - DAY_US else 0.0


@jit
def hear(state: Vector, o: int, t_us: int) -> None:
    """Note a trade of the open session."""
    if t_us <= state[o + START_US] + TOLERANCE_US:
        state[o + HEARD] = 1.0
