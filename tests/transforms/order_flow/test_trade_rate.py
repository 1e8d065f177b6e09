"""The decayed rate of trades."""

from __future__ import annotations

from math import exp
from typing import Any


def test_a_trade_adds_a_tenth_and_decays_over_ten_seconds(new_feed: Any) -> None:
    feed = new_feed().trade(10)
    assert feed.row(10)["trade_rate_10s"] == 0.1
    assert feed.row(20)["trade_rate_10s"] == 0.1 * exp(-1)
    feed.trade(25).trade(25)
    assert feed.row(26)["trade_rate_10s"] == (0.1 * exp(-1.5) + 0.1 + 0.1) * exp(-0.1)


def test_a_steady_stream_settles_at_its_rate(new_feed: Any) -> None:
    feed = new_feed()
    for i in range(1, 2001):
        feed.trade(i * 0.05)
    rate = feed.row(100)["trade_rate_10s"]
    assert abs(rate - 20) < 0.06  # 0.1/(1 - exp(-0.005)) = 20.05, seen right after a trade
    assert rate == feed.row(100)["trade_rate_10s"]


def test_before_the_first_trade_there_is_no_rate(new_feed: Any) -> None:
    assert new_feed().quote(1, 99, 101).row(2)["trade_rate_10s"] is None
