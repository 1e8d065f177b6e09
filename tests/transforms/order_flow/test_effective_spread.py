"""What trades pay against the mid strictly before them."""

from __future__ import annotations

from typing import Any

import pytest


def spread(feed: Any, t: float) -> float | None:
    value: float | None = feed.row(t)["effective_spread_bps_1m"]
    return value


def test_a_buy_at_the_ask_pays_the_quoted_spread(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99.95, 100.05).trade(1.5, 100.05, 3, 1)
    assert spread(feed, 2) == pytest.approx(10.0, rel=1e-9)  # 2*0.05/100


def test_a_trade_that_gets_a_better_price_than_the_mid_counts_negative(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101).trade(1.5, 100.1, 1, -1)
    assert spread(feed, 2) == pytest.approx(-20.0, rel=1e-9)


def test_it_is_weighted_by_volume(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101).trade(1.2, 101, 1, 1).trade(1.4, 99.5, 3, -1)
    # (1*200 + 3*100)/4
    assert spread(feed, 2) == pytest.approx(125.0, rel=1e-12)


def test_the_book_of_the_same_instant_is_not_before_the_trade(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101).quote(1.5, 199, 201).quote(1.5, 299, 301).trade(1.5, 101, 1, 1)
    assert spread(feed, 2) == pytest.approx(200.0, rel=1e-12)


def test_an_invalid_book_of_the_same_instant_leaves_the_mid_before_it(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101).invalid(1.5).trade(1.5, 101, 1, 1).trade(1.6, 101, 7, -1)
    assert spread(feed, 2) == pytest.approx(200.0, rel=1e-12)


def test_a_book_that_was_invalid_before_the_instant_gives_no_mid(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101).invalid(1.4).quote(1.5, 99, 101).trade(1.5, 101, 1, 1)
    assert spread(feed, 2) is None


def test_the_mid_must_be_under_a_second_old(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101).trade(2, 101, 1, 1)
    assert spread(feed, 3) is None
    feed = new_feed().quote(1, 99, 101).trade(1.999999, 101, 1, 1)
    assert spread(feed, 3) == pytest.approx(200.0, rel=1e-12)


def test_the_age_of_an_earlier_mid_is_its_own(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101).quote(2, 99, 101).trade(2, 101, 1, 1)
    assert spread(feed, 3) is None


def test_trades_without_a_mid_take_no_part(new_feed: Any) -> None:
    feed = new_feed().trade(0.5, 500, 9, 1).quote(1, 99, 101).trade(1.5, 101, 1, 1).trade(40, 700, 9, 1)
    assert spread(feed, 41) == pytest.approx(200.0, rel=1e-12)
    assert spread(feed, 61) == pytest.approx(200.0, rel=1e-12)
    assert spread(feed, 62) is None


def test_unclassified_trades_take_no_part(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101).trade(1.5, 100, 5, 0).trade(1.6, 101, 1, 1)
    assert spread(feed, 2) == pytest.approx(200.0, rel=1e-12)
