"""Times, converted exactly."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from transforms import times


@pytest.mark.parametrize("us", [0, 1_500_000, 1_722_989_999_999_999, -1])
def test_a_microsecond_of_any_age_survives_a_datetime(us: int) -> None:
    assert times.us_of_datetime(times.datetime_of_us(us)) == us


def test_a_datetime_is_aware_and_utc() -> None:
    assert times.datetime_of_us(1_500_000).isoformat() == "1970-01-01T00:00:01.500000+00:00"
    assert times.datetime_of_ms(1_500).isoformat() == "1970-01-01T00:00:01.500000+00:00"


def test_what_is_finer_than_the_unit_is_cut() -> None:
    assert times.us_of_datetime(datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)) == 1_500_000
    assert times.ms_of_datetime(datetime(1970, 1, 1, 0, 0, 1, 500_999, tzinfo=UTC)) == 1_500
    assert times.iso_of_us(1_500_999) == "1970-01-01T00:00:01.500+00:00"


def test_a_duration_is_whole_microseconds() -> None:
    assert times.us_of_duration(timedelta(seconds=1.5)) == 1_500_000


def test_days_are_counted_from_the_epoch() -> None:
    assert times.date_of_day(365) == date(1971, 1, 1)
    assert times.day_of_date(date(1971, 1, 1)) == 365
