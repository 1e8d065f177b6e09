"""Kyle's lambda over whole seconds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest


def feed_of(new_feed: Any, seconds: int, bucket_us: int = 1_000_000) -> Any:
    """In second k (ends at k) the mid goes to 100 + 0.01 k(k % 3), after a trade of signed volume k % 3 - 1."""
    feed = new_feed(bucket_us=bucket_us).quote(0.5, 99, 101)
    for k in range(1, seconds + 1):
        mid = 100 + 0.01 * k * (k % 3)
        x = k % 3 - 1
        feed.trade(k + 0.2, 100, abs(x) or 0.5, x)
        feed.quote(k + 0.6, mid - 1, mid + 1)
    return feed


def test_it_is_the_regression_through_the_origin_of_moves_on_signed_volume(new_feed: Any) -> None:
    # x: +1, -1 (k = 2, 4, ... see below), 0 unclassified... by hand: seconds k + 1 hold trade and quote of k
    feed = feed_of(new_feed, 40)
    mids = [100.0, *(100 + 0.01 * k * (k % 3) for k in range(1, 41))]
    moves = [b - a for a, b in itertools.pairwise(mids)]
    signed = [(k % 3 - 1) for k in range(1, 41)]
    expected = sum(m * x for m, x in zip(moves, signed, strict=True)) / sum(x * x for x in signed)
    assert feed.row(41)["kyle_lambda_5m"] == pytest.approx(expected, abs=1e-9)


def test_one_number_worked_out(new_feed: Any) -> None:
    """30 seconds: 29 buy 2 and move the mid by 0.1; one sells 4 and moves it by -0.5: (29*0.2 + 2)/(29*4 + 16)."""
    feed = new_feed().quote(0.5, 99, 101)
    mid = 100.0
    for k in range(1, 31):
        move, x = (0.1, 2) if k < 30 else (-0.5, -4)
        mid += move
        feed.trade(k + 0.1, 100, abs(x), 1 if x > 0 else -1).quote(k + 0.2, mid - 1, mid + 1)
        if k == 29:
            assert feed.row(30)["kyle_lambda_5m"] is None  # 29 seconds with trades
    assert feed.row(31)["kyle_lambda_5m"] == pytest.approx(7.8 / 132, abs=1e-12)


def test_an_event_at_the_end_of_a_second_is_part_of_it(new_feed: Any) -> None:
    early, late = new_feed().quote(1, 99, 101), new_feed().quote(1, 99, 101)
    for k in range(1, 41):
        early.quote(k + 0.5, 99 + k, 101 + k).trade(k + 0.5, 100, k % 2 + 1)
        late.quote(k + 1, 99 + k, 101 + k).trade(k + 1, 100, k % 2 + 1)
    assert early.row(41)["kyle_lambda_5m"] == late.row(41)["kyle_lambda_5m"]
    assert early.row(41)["kyle_lambda_5m"] == pytest.approx((20 * 2 + 20) / (20 * 4 + 20), abs=1e-12)


def test_seconds_without_a_trade_do_not_count(new_feed: Any) -> None:
    feed = new_feed().quote(0.5, 99, 101)
    for k in range(1, 60):
        feed.quote(k + 0.5, 99 + k, 101 + k)
        if k % 2:
            feed.trade(k + 0.6, 100, 1)
    assert feed.row(60)["kyle_lambda_5m"] == 1.0  # 30 seconds of x = 1, dm = 1


def test_after_an_invalid_book_moves_are_unknown_until_both_mids_are_known(new_feed: Any) -> None:
    feed = new_feed().quote(0.5, 99, 101)
    for k in range(1, 33):
        feed.quote(k + 0.5, 99 + k, 101 + k).trade(k + 0.6, 100, 1)
        if k == 10:
            feed.invalid(k + 0.7)
    # of 32 seconds the 10th ends and the 11th begins without a mid
    assert feed.row(33)["kyle_lambda_5m"] == 1.0
    feed = new_feed().quote(0.5, 99, 101)
    for k in range(1, 32):
        feed.quote(k + 0.5, 99 + k, 101 + k).trade(k + 0.6, 100, 1)
        if k == 10:
            feed.invalid(k + 0.7)
    assert feed.row(32)["kyle_lambda_5m"] is None


def test_a_silent_book_feed_is_not_a_price_that_stands_still(new_feed: Any) -> None:
    """Books at 1 ... 21 s: the mids at the ends of seconds 1 ... 31 are known, and 30 of 2 ... 31 have trades."""
    for books, known in ((21, True), (20, False)):
        feed = new_feed()
        for k in range(1, 100):
            if k <= books:
                feed.quote(k, 99, 101)
            feed.trade(k + 0.5, 100, 1)
        assert feed.row(100)["kyle_lambda_5m"] == (0.0 if known else None)


def test_only_300_seconds_count(new_feed: Any) -> None:
    feed = new_feed().quote(0.5, 99, 101)
    mid = 100.0
    for k in range(1, 401):
        mid += 5.0 if k <= 100 else 1.0
        feed.quote(k + 0.5, mid - 1, mid + 1).trade(k + 0.6, 100, 1)
    # the window of row t is the seconds that end at t - 299 ... t; second k + 1 holds the events of k
    assert feed.row(401)["kyle_lambda_5m"] == 1.0
    assert feed.row(700)["kyle_lambda_5m"] is None  # one second is left


def test_the_last_move_of_5_is_inside_until_it_is_300_seconds_old(new_feed: Any) -> None:
    feed = new_feed().quote(0.5, 99, 101)
    mid = 100.0
    for k in range(1, 400):
        mid += 5.0 if k == 100 else 1.0
        feed.quote(k + 0.5, mid - 1, mid + 1).trade(k + 0.6, 100, 1)
    # the move of 5 is in the second that ends at 101
    assert feed.row(400)["kyle_lambda_5m"] == pytest.approx((299 + 5) / 300, abs=1e-12)
    feed.quote(400.5, mid, mid + 2).trade(400.6, 100, 1)
    assert feed.row(401)["kyle_lambda_5m"] == 1.0


def test_where_every_second_is_balanced_there_is_no_lambda(new_feed: Any) -> None:
    feed = new_feed().quote(0.5, 99, 101)
    for k in range(1, 50):
        feed.quote(k + 0.5, 99 + k, 101 + k).trade(k + 0.6, 100, 1, 1).trade(k + 0.7, 100, 1, -1)
    assert feed.row(50)["kyle_lambda_5m"] is None


def test_faster_rows_still_use_whole_seconds(new_feed: Any) -> None:
    slow, fast = feed_of(new_feed, 60), feed_of(new_feed, 60, bucket_us=100_000)
    at = slow.row(61)["kyle_lambda_5m"]
    assert fast.row(61)["kyle_lambda_5m"] == at
    assert fast.row(61.9)["kyle_lambda_5m"] == at
