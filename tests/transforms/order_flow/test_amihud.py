"""Amihud's ratio of one-minute bars."""

from __future__ import annotations

from math import log
from typing import Any

import pytest

START = 3 * 86_400.0


def test_it_is_the_mean_of_return_over_turnover_of_the_bars_with_volume(new_feed: Any) -> None:
    feed = new_feed().trade(START, 100, 1)  # in the bar that ends at START, the window's begin
    feed.trade(START + 30, 101, 2).trade(START + 60, 102, 1)  # r = ln(102/100), D = 202 + 102
    feed.trade(START + 100, 99, 4, -1)  # r = ln(99/102), D = 396
    expected = 1e6 * (log(102 / 100) / 304 + log(102 / 99) / 396) / 2
    assert feed.row(START + 3599)["amihud_60m"] is None
    assert feed.row(START + 3600)["amihud_60m"] == pytest.approx(expected, rel=1e-13)


def test_a_bar_counts_from_its_end_on(new_feed: Any) -> None:
    feed = (
        new_feed().trade(START, 90, 1).trade(START + 50, 100, 1).trade(START + 100, 110, 1).trade(START + 3590, 120, 1)
    )
    before = feed.row(START + 3600)["amihud_60m"]
    feed.trade(START + 3601, 130, 1)
    assert feed.row(START + 3659)["amihud_60m"] == before
    after = feed.row(START + 3660)["amihud_60m"]
    # the bar with the trade at 100 s is (60, 120]: still inside, and so is the price at its beginning, of the bar that has left
    assert after == pytest.approx(1e6 * (log(1.1) / 110 + log(130 / 120) / 130) / 2, rel=1e-13)
    assert feed.row(START + 3720)["amihud_60m"] == pytest.approx(1e6 * log(130 / 120) / 130, rel=1e-13)


def test_the_first_bar_after_a_silence_is_passed_over_and_does_not_carry_the_night(new_feed: Any) -> None:
    feed = new_feed().trade(START, 100, 1).trade(START + 40, 101, 1).trade(START + 90, 102, 1)
    feed.trade(START + 3500, 107, 1).trade(START + 3590, 107.1, 2)  # overnight +5 %, then a bar of its own
    expected = 1e6 * (log(1.01) / 101 + log(102 / 101) / 102 + log(107.1 / 107) / 214.2) / 3
    assert feed.row(START + 3600)["amihud_60m"] == pytest.approx(expected, rel=1e-12)


def test_bars_that_lie_apart_have_no_return(new_feed: Any) -> None:
    feed = new_feed().trade(START - 9000, 100, 1).trade(START + 3590, 105, 1)
    assert feed.row(START + 3600)["amihud_60m"] is None


def test_an_hour_without_volume_has_none(new_feed: Any) -> None:
    feed = new_feed().trade(START - 60, 90, 1).trade(START, 100, 1)
    assert feed.row(START + 3599)["amihud_60m"] == pytest.approx(1e6 * log(100 / 90) / 100, rel=1e-13)
    for t in (3600, 3660, 7200):
        assert feed.row(START + t)["amihud_60m"] is None


def test_a_window_that_began_before_the_first_trade_is_null(new_feed: Any) -> None:
    feed = new_feed().trade(START + 0.000001, 100, 1).trade(START + 70, 101, 1)
    assert feed.row(START + 3600)["amihud_60m"] is None
    assert feed.row(START + 3660)["amihud_60m"] is not None


def test_a_return_past_a_double_is_null_and_stops_nothing(new_feed: Any) -> None:
    feed = new_feed().trade(START, 1e15, 1).trade(START + 30, 5e-324, 1)  # the ratio of these prices is 0
    assert feed.row(START + 3600)["amihud_60m"] is None
    feed.trade(START + 3601, 100, 1).trade(START + 3655, 101, 1).trade(START + 3661, 102, 1)
    assert feed.row(START + 7260)["amihud_60m"] == pytest.approx(1e6 * log(102 / 101) / 102, rel=1e-13)
