"""VPIN buckets: partial, exact, several at once, the day's change of V."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.instrument import Instrument
from transforms.kernel import to_bytes
from transforms.order_flow import kernel
from transforms.order_flow.vpin import CLOSED

DAY = 86_400.0


def closed(feed: Any) -> int:
    return int(feed.state[kernel.VPIN + CLOSED])


def test_fifty_buckets_are_needed(new_feed: Any) -> None:
    feed = new_feed(vpin_bucket=1.0)
    for i in range(49):
        feed.trade(i + 1)
    assert feed.row(60)["vpin"] is None
    assert feed.trade(61).row(61)["vpin"] == 1.0


def test_an_exact_fill_closes_the_bucket_at_once(new_feed: Any) -> None:
    feed = new_feed(vpin_bucket=1.0).trade(1, size=0.7).trade(2, size=0.29999999)
    assert closed(feed) == 0
    feed.trade(3, size=0.00000001)
    assert closed(feed) == 1


def test_a_tenth_ten_times_is_exactly_one(new_feed: Any) -> None:
    feed = new_feed(vpin_bucket=1.0)
    for i in range(10):
        feed.trade(1 + i, size=0.1)
    assert sum([0.1] * 10) != 1.0
    assert closed(feed) == 1


def test_a_trade_is_split_at_the_edge_and_fills_several_buckets(new_feed: Any) -> None:
    feed = new_feed(vpin_bucket=10.0).trade(1, size=4, side=1)
    feed.trade(2, size=31, side=-1)
    # 4 bought + 6 sold | 10 sold | 10 sold | 5 sold, open
    assert closed(feed) == 3
    feed.trade(3, size=5, side=1)  # 5 sold + 5 bought, an exact fill
    assert closed(feed) == 4
    feed.trade(4, size=460, side=1)  # 46 one-sided buckets
    # |4 - 6| + 10 + 10 + 0 + 46*10 = 482 of 500
    assert feed.row(5)["vpin"] == 482 / 500


def test_only_the_last_fifty_buckets_count(new_feed: Any) -> None:
    feed = new_feed(vpin_bucket=1.0)
    for i in range(50):
        feed.trade(1 + i, size=1, side=1)
    for i in range(20):
        feed.trade(60 + i, size=0.5, side=1).trade(60 + i, size=0.5, side=-1)
    assert feed.row(100)["vpin"] == 30 / 50


def test_unclassified_volume_fills_a_bucket_and_takes_no_side(new_feed: Any) -> None:
    feed = new_feed(vpin_bucket=1.0).trade(1, size=0.25, side=0).trade(2, size=0.75, side=1).trade(3, size=49, side=1)
    assert feed.row(4)["vpin"] == 49.75 / 50


def test_a_trade_of_a_billion_buckets_is_folded_at_once(new_feed: Any) -> None:
    feed = new_feed(vpin_bucket=0.001).trade(1, size=0.0005, side=1)
    feed.trade(2, size=1_000_000.0002, side=-1)
    assert feed.row(3)["vpin"] == 1.0
    # 1,000,000.0002 - 0.0005 leaves 0.0007 in the open bucket: 0.0003 bought close it at |0.0003 - 0.0007|
    feed.trade(4, size=0.0002, side=1)
    assert feed.row(4)["vpin"] == 1.0
    feed.trade(5, size=0.0001, side=1)
    assert feed.row(5)["vpin"] == (49 * 1.0 + 0.4) / 50


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4000), st.sampled_from((-1, 0, 1))), min_size=1, max_size=120),
    st.integers(1, 900),
)
def test_vpin_is_that_of_the_lots_laid_end_to_end(trades: list[tuple[int, int]], v: int) -> None:
    """Bucket k holds the lots k V ... (k + 1) V of the whole tape, counted with plain integers."""
    state = kernel.init(Instrument(size_digits=2, vpin_bucket=v / 100), 1_000_000)
    edges: list[tuple[int, int, int]] = []
    at = 0
    for i, (lots, side) in enumerate(trades):
        kernel.step_trade(state, (i + 1) * 1_000, 100.0, lots / 100, side)
        edges.append((at, at + lots, side))
        at += lots
    buckets = at // v
    imbalances = [
        abs(sum(s * max(0, min(b, (k + 1) * v) - max(a, k * v)) for a, b, s in edges))
        for k in range(max(0, buckets - 50), buckets)
    ]
    row = [0.0] * kernel.FEATURES if isinstance(state, list) else state[: kernel.FEATURES].copy()
    kernel.emit(state, 1_000_000, row)
    value = row[kernel.ORDER_FLOW.index["vpin"]]
    # a price that never changes leaves trades without a side unclassified, as `side` 0 is counted here
    if buckets < 50:
        assert value != value
    else:
        assert Fraction(float(value)) == Fraction(float(Fraction(sum(imbalances), 50 * v)))


def test_without_a_configured_volume_it_is_null_until_a_whole_previous_day(new_feed: Any) -> None:
    feed = new_feed()
    for i in range(100):
        feed.trade(400 + i, size=1)  # the first day began more than 5 minutes before the first trade: not whole
    assert feed.row(600)["vpin"] is None
    for i in range(100):
        feed.trade(DAY + 10 + i, size=1)  # whole, 100 units: V of the next day is 2
    assert feed.row(DAY + 200)["vpin"] is None
    for i in range(99):
        feed.trade(2 * DAY + 10 + i, size=1)
    assert feed.row(2 * DAY + 200)["vpin"] is None
    assert feed.trade(2 * DAY + 201).row(2 * DAY + 201)["vpin"] == 1.0


def test_at_midnight_the_open_bucket_is_dropped_and_the_closed_keep_their_volume(new_feed: Any) -> None:
    feed = new_feed().trade(DAY - 1, size=1).trade(DAY + 1, size=100)  # V of day 2: 2
    for i in range(40):
        feed.trade(2 * DAY + 10 + i, size=2, side=1)
    feed.trade(2 * DAY + 60, size=1, side=1)
    assert closed(feed) == 40
    # V of day 3: (100 + 81)/2/50 = 1.81
    feed.trade(3 * DAY, size=1.81, side=1)
    assert closed(feed) == 41
    for i in range(9):
        feed.trade(3 * DAY + 1 + i, size=0.905, side=1).trade(3 * DAY + 1 + i, size=0.905, side=-1)
    assert closed(feed) == 50
    assert feed.row(3 * DAY + 60)["vpin"] == pytest.approx((40 * 2 + 1.81) / (40 * 2 + 10 * 1.81), abs=1e-15)


def test_a_configured_volume_keeps_its_open_bucket_over_midnight(new_feed: Any) -> None:
    feed = new_feed(vpin_bucket=2.0).trade(DAY - 1, size=1).trade(DAY, size=1)
    assert closed(feed) == 1


def test_a_row_at_midnight_changes_no_later_value(new_feed: Any) -> None:
    feeds = new_feed(), new_feed()
    for feed in feeds:
        feed.trade(DAY - 1, size=1).trade(DAY + 1, size=100).trade(2 * DAY + 5, size=3)
    for t in range(3, 9):
        feeds[0].row(t * DAY)
    for feed in feeds:
        feed.trade(9 * DAY + 5, size=200, side=-1)
    assert feeds[0].row(9 * DAY + 6) == feeds[1].row(9 * DAY + 6)
    assert feeds[0].row(9 * DAY + 6)["vpin"] == 1.0
    assert to_bytes(feeds[0].state) == to_bytes(feeds[1].state)
