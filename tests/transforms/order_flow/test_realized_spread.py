"""What is left of the spread five seconds later, known then and not before."""

from __future__ import annotations

import random
from typing import Any

import pytest

from transforms.order_flow.realized_spread import CAPACITY


def spread(feed: Any, t: float) -> float | None:
    value: float | None = feed.row(t)["realized_spread_bps_5s"]
    return value


def test_it_is_stamped_at_exactly_five_seconds(new_feed: Any) -> None:
    feed = new_feed(bucket_us=100_000).quote(1, 99, 101).trade(1.5, 101, 2, 1).quote(3, 99.5, 101.5)
    assert spread(feed, 6.4) is None
    assert spread(feed, 6.5) == pytest.approx(2e4 * (101 - 100.5) / 100, rel=1e-12)


def test_a_book_of_exactly_five_seconds_later_counts_and_one_after_does_not(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101).trade(1.5, 101, 2, 1).quote(6.5, 98.5, 100.5).quote(6.500001, 10, 20)
    assert spread(feed, 7) == pytest.approx(2e4 * (101 - 99.5) / 100, rel=1e-12)


def test_the_last_of_several_books_of_that_instant_counts(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101).trade(1.5, 101, 2, 1).quote(6.5, 10, 20).quote(6.5, 98.5, 100.5)
    assert spread(feed, 7) == pytest.approx(2e4 * (101 - 99.5) / 100, rel=1e-12)


def test_a_seller_gains_when_the_mid_falls(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101).trade(1.5, 99, 1, -1).quote(4, 97, 98)
    # -2*(99 - 97.5)/100: the seller's counterpart lost 300 bps
    assert spread(feed, 7) == pytest.approx(-300.0, rel=1e-12)


def test_trades_of_one_instant_are_weighed_by_volume(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101).trade(1.5, 101, 1, 1).trade(1.5, 99, 3, -1).quote(4, 99.5, 101.5)
    # +2*(101 - 100.5) = +100 bps for 1, -2*(99 - 100.5) = +300 bps for 3
    assert spread(feed, 7) == pytest.approx(250.0, rel=1e-12)


def test_without_a_valid_book_at_that_time_the_trade_takes_no_part(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101).trade(1.5, 101, 1, 1).trade(1.7, 101, 1, 1)
    feed.invalid(6.4).quote(6.6, 99.5, 101.5)
    # 6.5 s falls into the hole, 6.7 s does not
    assert spread(feed, 7) == pytest.approx(100.0, rel=1e-12)
    feed = new_feed().quote(1, 99, 101).trade(1.5, 101, 1, 1).invalid(6.5)
    assert spread(feed, 8) is None


def test_a_trade_leaves_a_minute_after_its_five_seconds(new_feed: Any) -> None:
    feed = new_feed().quote(1, 99, 101).trade(1.5, 101, 1, 1)
    assert spread(feed, 66) == pytest.approx(200.0, rel=1e-12)
    assert spread(feed, 67) is None


def test_rows_in_between_do_not_matter(new_feed: Any) -> None:
    with_rows, without = new_feed(), new_feed()
    for feed in (with_rows, without):
        feed.quote(1, 99, 101)
        for i in range(1, 60):
            feed.quote(i + 0.1, 99 + i % 3, 101 + i % 3).trade(i + 0.5, 101, i, 1 - 2 * (i % 2))
            if feed is with_rows:
                feed.row(i + 1)
    assert spread(with_rows, 60) == spread(without, 60)


def test_up_to_the_bound_every_trade_counts_and_past_it_the_row_is_null_not_wrong(new_feed: Any) -> None:
    feed, rng = new_feed().quote(1, 99, 101), random.Random(5)
    shares = volume = 0.0
    for i in range(CAPACITY):
        for _ in range(3):  # trades of one instant share an entry
            price, size = 100 + rng.randrange(-50, 50) / 64, rng.randrange(1, 64) / 8
            feed.trade(1.0 + (i + 1) * 1e-4, price, size, 1)
            shares += size * 2e4 * (price - 100.25) / 100
            volume += size
    feed.quote(3, 99.25, 101.25)
    assert spread(feed, 7) == pytest.approx(shares / volume, rel=1e-9)

    feed = new_feed().quote(1, 99, 101)
    for i in range(CAPACITY + 1):
        feed.trade(1.0 + (i + 1) * 1e-4, 101, 1, 1)
    feed.quote(61, 99, 101).trade(61.5, 101, 1, 1)
    lost = 6.0 + (CAPACITY + 1) * 1e-4  # 6.1025: null up to the row of 66, whose window (6, 66] holds it
    assert spread(feed, 7) is None
    assert spread(feed, 66) is None
    assert 6 < lost < 7
    assert spread(feed, 67) == pytest.approx(200.0, rel=1e-12)
