"""Features of the session: null until one was heard from its beginning."""

from __future__ import annotations

from typing import Any

DAY = 86_400.0


NAMES = ("cvd", "vwap_session", "vwap_dev_bps")


def test_a_start_in_mid_day_has_no_session_values_until_midnight(new_feed: Any) -> None:
    feed = new_feed().trade(301, size=3)
    for t in (400, DAY - 1):
        feed.trade(t - 1)
        assert [feed.row(t)[name] for name in (*NAMES, "session_complete")] == [None, None, None, 0.0]
    feed.trade(DAY + 7000, size=2)
    assert feed.row(DAY + 7001)["cvd"] == 2.0


def test_a_start_within_five_minutes_counts_as_the_beginning(new_feed: Any) -> None:
    feed = new_feed().trade(DAY + 300, 50, 3)
    assert [feed.row(DAY + 301)[name] for name in (*NAMES, "session_complete")] == [3.0, 50.0, 0.0, 1.0]


def test_books_before_the_session_do_not_prove_that_its_trades_were_heard(new_feed: Any) -> None:
    feed = new_feed().quote(DAY - 5, 99, 101).quote(DAY + 5, 99, 101).trade(DAY + 400)
    assert feed.row(DAY + 401)["cvd"] is None


def test_a_symbol_that_trades_rarely_was_heard_if_it_traded_the_day_before(new_feed: Any) -> None:
    feed = new_feed().trade(DAY + 5000).trade(2 * DAY + 60_000, size=7)
    assert feed.row(2 * DAY + 60_001)["cvd"] == 7.0
    # silent for more than a day before this session: nobody knows whether it was listened to
    feed.trade(4 * DAY + 400, size=9)
    assert feed.row(4 * DAY + 401)["cvd"] is None


def test_cvd_starts_again_at_midnight(new_feed: Any) -> None:
    feed = new_feed().trade(10, size=3).trade(DAY - 5, size=1, side=-1)
    assert feed.row(DAY - 1)["cvd"] == 2.0
    feed.trade(DAY - 0.5, size=4)
    row = feed.row(DAY)
    assert row["cvd"] == 0.0
    assert row["vwap_session"] is None
    assert row["vwap_dev_bps"] is None
    feed.trade(DAY + 0.5, size=5, side=-1)
    assert feed.row(DAY + 1)["cvd"] == -5.0


def test_a_trade_of_exactly_midnight_is_the_first_of_its_day(new_feed: Any) -> None:
    feed = new_feed().trade(DAY - 1, 90, 3).trade(DAY, 110, 2)
    row = feed.row(DAY)
    assert row["cvd"] == 2.0
    assert row["vwap_session"] == 110.0


def test_days_without_a_trade_are_passed_over(new_feed: Any) -> None:
    feed = new_feed().trade(10, size=3).trade(5 * DAY + 1, size=2)
    assert feed.row(5 * DAY + 2)["cvd"] == 2.0


def test_session_vwap_and_the_distance_of_the_last_price(new_feed: Any) -> None:
    feed = new_feed().trade(10, 100, 1).trade(20, 103, 3, -1).trade(4000, 105, 2)
    row = feed.row(4001)
    # (100 + 309 + 210)/6 = 619/6; 105 lies (630 - 619)/619 above it
    assert abs(row["vwap_session"] - 619 / 6) < 1e-12
    assert abs(row["vwap_dev_bps"] - 1e4 * 11 / 619) < 1e-9


def test_size_under_half_a_lot_is_no_volume(new_feed: Any) -> None:
    feed = new_feed(digits=2).trade(10, 100, 0.004)
    row = feed.row(11)
    assert row["cvd"] == 0.0
    assert row["vwap_session"] is None
