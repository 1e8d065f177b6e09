"""Features of the UTC day: they begin at 00:00 or with the first trade."""

from __future__ import annotations

from typing import Any

DAY = 86_400.0


def test_cvd_starts_at_the_first_trade_and_again_at_midnight(new_feed: Any) -> None:
    feed = new_feed().trade(DAY - 10, size=3).trade(DAY - 5, size=1, side=-1)
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
