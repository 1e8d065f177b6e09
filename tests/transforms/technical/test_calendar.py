"""Functions of the row's time, against Python's own calendar."""

from __future__ import annotations

from datetime import UTC, datetime
from math import cos, pi, sin
from typing import Any

import pytest

from tests.transforms.technical.conftest import HandFeed
from transforms.technical import kernel


@pytest.mark.parametrize(
    ("when", "hour", "weekday", "weekend", "to_funding"),
    [
        (datetime(2024, 8, 8, 23, 54, 30, tzinfo=UTC), 23, 3, 0, 5.5),
        (datetime(2024, 8, 9, 0, 0, tzinfo=UTC), 0, 4, 0, 480.0),  # the settlement is now: the next is in 8 h
        (datetime(2024, 8, 10, 7, 59, 59, tzinfo=UTC), 7, 5, 1, 1 / 60),
        (datetime(2024, 8, 11, 8, 0, 1, tzinfo=UTC), 8, 6, 1, 480 - 1 / 60),
        (datetime(2024, 8, 12, 15, 0, tzinfo=UTC), 15, 0, 0, 60.0),
    ],
)
def test_the_calendar_is_utc_and_of_the_rows_time(
    new_feed: Any, when: datetime, hour: int, weekday: int, weekend: int, to_funding: float
) -> None:
    assert when.weekday() == weekday
    row = new_feed(funding_hours=8).row(when.timestamp())
    assert (row["market_hour"], row["day_of_week"], row["is_weekend"]) == (hour, weekday, weekend)
    assert row["minutes_to_funding"] == pytest.approx(to_funding, rel=1e-12)
    angle = 2 * pi * (when.hour + when.minute / 60) / 24
    assert row["hour_sin"] == pytest.approx(sin(angle), abs=1e-15)
    assert row["hour_cos"] == pytest.approx(cos(angle), abs=1e-15)
    assert row["weekday_sin"] == pytest.approx(sin(2 * pi * weekday / 7), abs=1e-15)
    assert row["weekday_cos"] == pytest.approx(cos(2 * pi * weekday / 7), abs=1e-15)


def test_before_the_first_trade_only_the_calendar_is_known(feed: HandFeed) -> None:
    known = {name for name, value in feed.row(1_723_161_270).items() if value is not None}
    assert known == {
        "market_hour", "day_of_week", "hour_sin", "hour_cos", "weekday_sin", "weekday_cos", "is_weekend",
    }  # fmt: skip


NOON = 1_723_118_400
"""2024-08-08 12:00 UTC, s."""


def test_an_instrument_without_funding_has_no_minutes_to_it(feed: HandFeed) -> None:
    feed.trade(NOON, 100)
    assert feed.row(NOON)["minutes_to_funding"] is None


@pytest.mark.parametrize(("hours", "minutes"), [(1, 30.0), (4, 210.0), (8, 210.0), (24, 690.0)])
def test_funding_is_settled_every_so_many_hours_from_midnight_on(new_feed: Any, hours: int, minutes: float) -> None:
    assert new_feed(funding_hours=hours).row(NOON + 1800)["minutes_to_funding"] == minutes


def test_the_time_that_the_venue_told_counts_until_it_has_passed(new_feed: Any) -> None:
    for hours, after in ((8, [180.0, pytest.approx(180 - 1 / 60)]), (0, [None, None])):
        feed = new_feed(funding_hours=hours).trade(NOON, 100)
        kernel.step_funding(feed.state, (NOON + 3600) * 1_000_000)
        minutes = [feed.row(NOON + t)["minutes_to_funding"] for t in (0, 3599, 3600, 3601)]
        assert minutes == [60.0, pytest.approx(1 / 60), *after]


def test_a_settlement_more_than_a_day_ahead_is_not_the_next(new_feed: Any) -> None:
    feed = new_feed(funding_hours=8)
    kernel.step_funding(feed.state, (NOON + 86_401) * 1_000_000)
    assert feed.row(NOON)["minutes_to_funding"] == 240.0
    assert feed.row(NOON + 1)["minutes_to_funding"] == 1440.0
