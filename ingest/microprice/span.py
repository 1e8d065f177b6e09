"""The times of a fit: which history it is made from, and from when its table is used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from feature_repo.stores.errors import UserError
from transforms.times import EPOCH

_LONGEST_AHEAD = timedelta(days=31)


class SpanError(UserError, ValueError):
    """Dates that make no sense, or with which a row would be made by a table that knows the row's future."""


@dataclass(frozen=True, slots=True)
class Span:
    """The history of a fit (``before`` not included), the first row that uses its table, and when it is made; all times are aware."""

    since: datetime
    before: datetime
    usable_from: datetime
    now: datetime


def span_of(since: datetime | None, before: datetime | None, usable_from: datetime | None, now: datetime) -> Span:
    """Return the times of a fit, with defaults for those that are None.

    By default all history before 00:00 UTC today is fitted, and the table is used from the next 00:00 UTC on.

    Raises
    ------
    SpanError
        The dates are in the wrong order, or too far in the future.
    """
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    end = today if before is None else before
    begin = EPOCH if since is None else since
    usable = max(today + timedelta(days=1), end) if usable_from is None else usable_from
    if end > now:
        raise SpanError(f"--before {end.isoformat()} is in the future: that history is not over")
    if begin >= end:
        raise SpanError(f"--since {begin.isoformat()} is not before --before {end.isoformat()}")
    if usable < end:
        raise SpanError(
            f"--from {usable.isoformat()} is before --before {end.isoformat()}: those rows would know their future"
        )
    if usable > now + _LONGEST_AHEAD:
        raise SpanError(f"--from {usable.isoformat()} is more than {_LONGEST_AHEAD.days} days ahead")
    return Span(begin, end, usable, now)
