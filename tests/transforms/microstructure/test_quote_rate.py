"""Books per second."""

from __future__ import annotations

from typing import Any

BIDS, ASKS = [(99.0, 1.0)], [(101.0, 1.0)]


def test_books_are_counted_over_ten_seconds_open_on_the_left_and_closed_on_the_right(new_feed: Any) -> None:
    feed = new_feed()
    for t in (5.0, 10.0, 10.000001, 15.0, 20.0):
        feed.book(t, BIDS, ASKS)
    # (10, 20]: the book at 10 exactly is out, the one at 20 exactly is in
    assert feed.row(20)["quote_rate_10s"] == 0.3


def test_the_rate_is_null_until_ten_seconds_are_covered_from_the_start_and_from_a_hole(new_feed: Any) -> None:
    feed = new_feed().book(3.0, BIDS, ASKS)
    assert feed.row(12)["quote_rate_10s"] is None
    assert feed.row(13)["quote_rate_10s"] == 0.0
    feed.invalid(14.0).book(14.5, BIDS, ASKS)
    assert feed.row(24)["quote_rate_10s"] is None
    assert feed.row(25)["quote_rate_10s"] == 0.0


def test_books_of_one_time_count_each(new_feed: Any) -> None:
    feed = new_feed().book(1.0, BIDS, ASKS)
    for _ in range(7):
        feed.book(2.0, BIDS, ASKS)
    assert feed.row(11)["quote_rate_10s"] == 0.7
