"""Sessions of instruments, with dates whose clock changes are known from the calendar."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isnan

import pytest

from transforms.engine import Engine
from transforms.example import HandFeed
from transforms.instrument import Instrument
from transforms.kernel import SECOND_US
from transforms.sessions import SessionClock
from transforms.times import us_of_datetime

NEW_YORK = {"session_timezone": "America/New_York", "session_open": "09:30"}


def us(text: str) -> int:
    return us_of_datetime(datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("at", "start", "end"),
    [
        ("2024-01-10T14:29:59", "2024-01-09T14:30:00", "2024-01-10T14:30:00"),  # winter: UTC - 5 h
        ("2024-01-10T14:30:00", "2024-01-10T14:30:00", "2024-01-11T14:30:00"),
        ("2024-07-10T13:30:00", "2024-07-10T13:30:00", "2024-07-11T13:30:00"),  # summer: UTC - 4 h
        ("2024-03-10T10:00:00", "2024-03-09T14:30:00", "2024-03-10T13:30:00"),  # clocks go forward: 23 h
        ("2024-11-03T10:00:00", "2024-11-02T13:30:00", "2024-11-03T14:30:00"),  # and back: 25 h
    ],
)
def test_new_york_opens_at_half_past_nine_in_summer_and_winter(at: str, start: str, end: str) -> None:
    clock = SessionClock("America/New_York", "09:30")
    assert clock.session(us(at))[:2] == (us(start), us(end))


def test_an_opening_that_the_clock_change_skips_is_an_hour_later_and_no_session_is_lost() -> None:
    # Beirut goes from 00:00 to 01:00 on 2024-03-31, when it is 22:00 UTC
    clock = SessionClock("Asia/Beirut", "00:00")
    before, after = clock.session(us("2024-03-30T21:59:59")), clock.session(us("2024-03-30T22:00:00"))
    assert before[1] == after[0] == us("2024-03-30T22:00:00")
    assert after[2] == before[2] + 1


def opened(text: str) -> Engine:
    """An engine of a share that traded the day before, with one trade a minute before the opening."""
    engine = Engine(Instrument(**NEW_YORK), SECOND_US)
    engine.trade(us(text) - 20 * 3600 * SECOND_US, 100.0, 5.0, 1)
    engine.trade(us(text) - 60 * SECOND_US, 100.0, 7.0, 1)
    return engine


def cvd(engine: Engine, t_us: int) -> float:
    return next(float(row[view.index["cvd"]]) for view, row in engine.emit(t_us) if view.name == "order_flow")


@pytest.mark.parametrize("opening", ["2024-01-10T14:30:00", "2024-07-10T13:30:00"])
@pytest.mark.parametrize("restarted", [False, True])
def test_cvd_of_a_share_starts_at_its_opening_and_not_at_midnight(opening: str, restarted: bool) -> None:
    engine, at = opened(opening), us(opening)
    engine.trade(at, 100.0, 2.0, 1)
    if restarted:
        other = Engine(Instrument(**NEW_YORK), SECOND_US)
        other.restore(engine.save())
        engine = other
    assert cvd(engine, at + SECOND_US) == 2.0
    midnight = us(opening[:10] + "T00:00:00") + 24 * 3600 * SECOND_US
    engine.trade(midnight - SECOND_US, 100.0, 3.0, -1)
    engine.trade(midnight + SECOND_US, 100.0, 4.0, 1)
    assert cvd(engine, midnight + 2 * SECOND_US) == 3.0


def test_the_row_of_the_opening_itself_belongs_to_the_new_session() -> None:
    engine, at = opened("2024-01-10T14:30:00"), us("2024-01-10T14:30:00")
    assert isnan(cvd(engine, at - SECOND_US))  # the session before was heard from its fourth hour on
    assert cvd(engine, at) == 0.0


def test_a_session_that_an_instrument_changed_to_is_null_until_it_begins_anew() -> None:
    old = Engine(Instrument(), SECOND_US)
    for hour in range(0, 24, 4):
        old.trade(us("2024-01-10T00:00:01") + hour * 3600 * SECOND_US, 100.0, 1.0, 1)
    new = Engine(Instrument(**NEW_YORK), SECOND_US)
    new.restore(old.save())
    after = us("2024-01-11T00:00:30")
    new.trade(after, 100.0, 1.0, 1)
    assert isnan(cvd(new, after + SECOND_US))  # the session of New York began at 14:30 of the day before
    opening = us("2024-01-11T14:30:00")
    new.trade(opening, 100.0, 9.0, 1)
    assert cvd(new, opening + SECOND_US) == 9.0


def test_the_volume_profile_follows_the_instruments_session() -> None:
    # HandFeed begins on 1970-01-02: Tokyo's midnight is 15:00 UTC
    feed = HandFeed(session_timezone="Asia/Tokyo", profile_row=1.0)
    feed.trade(14 * 3600, 50.0)
    for i in range(100):
        feed.trade(15 * 3600 + i, 100.0)
    assert feed.value("poc", at=15 * 3600 + 100) == 100.5
