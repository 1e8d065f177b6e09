"""Functions of the row's time, against Python's own calendar."""

from __future__ import annotations

from datetime import UTC, datetime
from math import cos, pi, sin

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
    feed: HandFeed, when: datetime, hour: int, weekday: int, weekend: int, to_funding: float
) -> None:
    assert when.weekday() == weekday
    row = feed.row(when.timestamp())
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
        "market_hour", "day_of_week", "hour_sin", "hour_cos", "weekday_sin", "weekday_cos", "is_weekend", "minutes_to_funding",
    }  # fmt: skip


def test_the_time_that_the_venue_told_counts_until_it_has_passed(feed: HandFeed) -> None:
    noon = 1_723_118_400  # 2024-08-08 12:00 UTC: the next of the usual ones is 16:00
    feed.trade(noon, 100)
    kernel.step_funding(feed.state, (noon + 3600) * 1_000_000)
    minutes = {t: feed.row(noon + t)["minutes_to_funding"] for t in (0, 3599, 3600, 3601)}
    assert minutes == {0: 60.0, 3599: pytest.approx(1 / 60), 3600: 180.0, 3601: pytest.approx(180 - 1 / 60)}


def test_a_settlement_more_than_a_day_ahead_is_not_the_next(feed: HandFeed) -> None:
    noon = 1_723_118_400
    kernel.step_funding(feed.state, (noon + 86_401) * 1_000_000)
    assert feed.row(noon)["minutes_to_funding"] == 240.0
    assert feed.row(noon + 1)["minutes_to_funding"] == 1440.0
