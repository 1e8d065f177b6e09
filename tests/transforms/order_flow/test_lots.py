"""Sizes as whole lots, also where a lot of 10**-8 makes them huge."""

from __future__ import annotations

from typing import Any

from transforms.order_flow.lots import whole


def test_a_size_becomes_the_nearest_whole_number_of_lots() -> None:
    assert 0.29 * 100 != 29.0
    assert whole(0.29 * 100) == 29.0
    assert whole(0.5) == 1.0
    assert whole(0.4999) == 0.0
    assert whole(2.0**53 - 1) == 2.0**53 - 1


def test_beyond_the_integers_of_a_machine_a_size_stays_what_it_is() -> None:
    assert whole(1e25) == 1e25


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
