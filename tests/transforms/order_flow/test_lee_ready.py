"""Which side a trade without one is given: quote rule, tick rule, zero tick, and neither."""

from __future__ import annotations

from typing import Any

import pytest


def bought_and_sold(feed: Any) -> tuple[float, float, float]:
    row = feed.row(62)
    return row["buy_volume_1m"], row["sell_volume_1m"], row["side_inferred_share_1m"]


@pytest.fixture
def feed(new_feed: Any) -> Any:
    """A feed that was first seen at 1 s with a trade at 100: rows of 62 s cover (2, 62]."""
    return new_feed().trade(1, 100, 1, 1)


def test_above_the_mid_a_buyer_was_the_aggressor(feed: Any) -> None:
    feed.quote(50, 98, 99).trade(50.5, 98.6, 2, 0)  # a downtick from 100, and yet above the mid 98.5
    assert bought_and_sold(feed) == (2.0, 0.0, 1.0)


def test_below_the_mid_a_seller_was_the_aggressor(feed: Any) -> None:
    feed.quote(50, 101, 102).trade(50.5, 101.4, 2, 0)
    assert bought_and_sold(feed) == (0.0, 2.0, 1.0)


def test_at_the_mid_the_tick_decides(feed: Any) -> None:
    feed.quote(50, 100, 102).trade(50.5, 101, 2, 0)  # up from 100
    assert bought_and_sold(feed) == (2.0, 0.0, 1.0)
    feed.quote(51, 99, 101).trade(51.5, 100, 3, 0)  # down from 101
    assert bought_and_sold(feed) == (2.0, 3.0, 1.0)


def test_a_zero_tick_keeps_the_direction_of_the_last_change(feed: Any) -> None:
    feed.trade(50, 99, 1, 1).trade(51, 99, 4, 0).trade(52, 99, 8, 0)
    assert bought_and_sold(feed) == (1.0, 12.0, 2 / 3)


def test_before_the_first_change_of_price_a_trade_is_unclassified(feed: Any) -> None:
    feed.trade(50, 100, 2, 0)
    assert bought_and_sold(feed) == (0.0, 0.0, 0.0)
    assert feed.row(62)["avg_trade_size_1m"] == 2.0


def test_the_first_trade_of_all_is_unclassified_without_a_mid(new_feed: Any) -> None:
    assert new_feed().trade(2, 100, 1, 0).row(3)["cvd"] == 0.0


def test_the_mid_must_be_strictly_before_the_trade(feed: Any) -> None:
    # The book of 50 s says bought (its mid is 98.5); strictly before there is none, and the tick says sold.
    feed.quote(50, 98, 99).trade(50, 98.6, 2, 0)
    assert bought_and_sold(feed) == (0.0, 2.0, 1.0)


def test_a_mid_of_one_second_is_too_old(feed: Any) -> None:
    feed.quote(50, 98, 99).trade(50.999999, 98.6, 2, 0)
    assert bought_and_sold(feed) == (2.0, 0.0, 1.0)
    feed.quote(55, 97, 98).trade(56, 97.6, 4, 0)  # the tick: down
    assert bought_and_sold(feed) == (2.0, 4.0, 1.0)


def test_an_invalid_book_has_no_mid(feed: Any) -> None:
    feed.quote(50, 98, 99).invalid(50.2).trade(50.5, 98.6, 2, 0)
    assert bought_and_sold(feed) == (0.0, 2.0, 1.0)


def test_the_side_of_the_venue_is_never_overruled(feed: Any) -> None:
    feed.quote(50, 98, 99).trade(50.5, 98.1, 2, 1)
    assert bought_and_sold(feed) == (2.0, 0.0, 0.0)
