"""Volumes and counts of fixed windows, worked by hand."""

from __future__ import annotations

from typing import Any

import pytest

ONE_MINUTE = (
    "buy_volume_1m",
    "sell_volume_1m",
    "delta_volume_1m",
    "trade_flow_imbalance_1m",
    "trade_count_1m",
    "avg_trade_size_1m",
    "side_inferred_share_1m",
    "vwap_1m",
)
FIVE_MINUTES = ("delta_volume_5m", "trade_flow_imbalance_5m", "vwap_5m")


def test_a_minute_of_trades_gives_its_sums(new_feed: Any) -> None:
    feed = new_feed().trade(10, 100, 5, 1)  # before the window (20, 80]
    feed.trade(30, 101, 2, 1).trade(40, 99, 3, -1).trade(80, 102, 0.5, 1)
    row = feed.row(80)
    assert row["buy_volume_1m"] == 2.5
    assert row["sell_volume_1m"] == 3.0
    assert row["delta_volume_1m"] == -0.5
    assert row["delta_volume_1s"] == 0.5
    assert row["trade_flow_imbalance_1m"] == -0.5 / 5.5
    assert row["trade_count_1m"] == 3.0
    assert row["avg_trade_size_1m"] == 5.5 / 3
    assert row["side_inferred_share_1m"] == 0.0
    # 101*2 + 99*3 + 102*0.5 = 550
    assert row["vwap_1m"] == 100.0


def test_a_window_holds_its_end_and_not_its_begin(new_feed: Any) -> None:
    feed = new_feed().trade(1).trade(20, size=7).trade(20.000001, size=2).trade(80, size=4)
    row = feed.row(80)
    assert row["buy_volume_1m"] == 6.0
    assert row["trade_count_1m"] == 2.0
    assert feed.row(81)["buy_volume_1m"] == 4.0


def test_a_window_is_null_until_the_first_trade_lies_at_its_begin_or_before(new_feed: Any) -> None:
    feed = new_feed().trade(10)
    assert feed.row(10)["delta_volume_1s"] is None
    assert feed.row(11)["delta_volume_1s"] == 0.0
    row = feed.row(69)
    assert {row[name] for name in (*ONE_MINUTE, *FIVE_MINUTES)} == {None}
    feed.trade(70)
    row = feed.row(70)
    assert None not in {row[name] for name in ONE_MINUTE}
    assert {row[name] for name in FIVE_MINUTES} == {None}
    assert feed.row(309)["delta_volume_5m"] is None
    assert feed.row(310)["delta_volume_5m"] == 1.0


def test_without_volume_there_are_zeros_for_sums_and_nulls_for_ratios(new_feed: Any) -> None:
    row = new_feed().trade(1).row(400)
    for name in ("buy_volume_1m", "sell_volume_1m", "delta_volume_1s", "delta_volume_1m", "delta_volume_5m"):
        assert row[name] == 0.0
    assert row["trade_count_1m"] == 0.0
    for name in ("trade_flow_imbalance_1m", "trade_flow_imbalance_5m", "avg_trade_size_1m", "side_inferred_share_1m"):
        assert row[name] is None
    assert row["vwap_1m"] is None
    assert row["vwap_5m"] is None


def test_unclassified_trades_are_volume_and_neither_bought_nor_sold(new_feed: Any) -> None:
    feed = new_feed().trade(5, 100, 3, 0).trade(50, 100, 2, 0).trade(60, 100, 1, 1)
    row = feed.row(65)
    assert (row["buy_volume_1m"], row["sell_volume_1m"]) == (1.0, 0.0)
    assert row["avg_trade_size_1m"] == 1.5
    assert row["trade_flow_imbalance_1m"] == 1 / 3
    assert row["side_inferred_share_1m"] == 0.0  # nothing could be inferred


def test_five_minutes_hold_what_one_has_forgotten(new_feed: Any) -> None:
    feed = new_feed().trade(1, 100, 1, 1).trade(2, 90, 3, -1).trade(300, 110, 1, 1)
    row = feed.row(301)
    # (1, 301]: sold 3 at 90, bought 1 at 110
    assert row["delta_volume_5m"] == -2.0
    assert row["trade_flow_imbalance_5m"] == -0.5
    assert row["vwap_5m"] == 95.0
    assert row["delta_volume_1m"] == 1.0
    assert row["vwap_1m"] == 110.0


def test_sums_of_many_lots_are_exact(new_feed: Any) -> None:
    feed = new_feed().trade(1)
    for _ in range(1000):
        feed.trade(30, 100, 0.1, 1)
    assert sum([0.1] * 1000) != 100.0
    assert feed.row(61)["buy_volume_1m"] == 100.0


@pytest.mark.parametrize("bucket_us", [100_000, 250_000, 1_000_000])
def test_a_narrower_bucket_gives_the_same_windows(new_feed: Any, bucket_us: int) -> None:
    feed = new_feed(bucket_us=bucket_us).trade(0.5, 100, 1, 1)
    for i in range(1, 800):
        feed.trade(i * 0.5 + 0.123457, 100 + i % 7, i % 5 / 4 + 0.25, 1 - i % 2 * 2)
    reference = new_feed().trade(0.5, 100, 1, 1)
    for i in range(1, 800):
        reference.trade(i * 0.5 + 0.123457, 100 + i % 7, i % 5 / 4 + 0.25, 1 - i % 2 * 2)
    # prices and sizes are short binary fractions: even sum pq is exact, whatever the grouping
    assert feed.row(401) == reference.row(401)


def test_fast_rows_see_windows_that_begin_within_a_second(new_feed: Any) -> None:
    feed = new_feed(bucket_us=100_000).trade(0.05).trade(10.25, size=2).trade(70.3, size=4)
    assert feed.row(70.3)["buy_volume_1m"] == 4.0  # (10.3, 70.3]
    feed = new_feed(bucket_us=100_000).trade(0.05).trade(10.25, size=2)
    assert feed.row(70.2)["buy_volume_1m"] == 2.0  # (10.2, 70.2]


def test_a_coin_of_a_millionth_trades_in_sizes_past_64_bits_of_lots(new_feed: Any) -> None:
    """1e12 coins are 1e20 lots of 1e-8: rounded in the last of 16 digits, and no more than that."""
    feed = new_feed(vpin_bucket=1e11).trade(1, 1e-6, 1e12, 1).trade(30, 1e-6, 3e12, -1).trade(40, 2e-6, 1e12, 1)
    row = feed.row(61)
    assert row["buy_volume_1m"] == 1e12
    assert row["sell_volume_1m"] == 3e12
    assert row["cvd"] == -1e12
    assert row["vwap_1m"] == (3e6 + 2e6) / 4e12
    # 10 buckets bought, 30 sold, 10 bought
    assert row["vpin"] == 1.0
