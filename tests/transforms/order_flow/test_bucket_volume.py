"""V of a VPIN bucket, configured and from the days before."""

from __future__ import annotations

from typing import Any

import pytest

from transforms.instrument import Instrument
from transforms.order_flow import kernel

DAY = 86_400.0


def v_of(feed: Any) -> float:
    """V in base units, 0 while unknown."""
    return float(feed.state[kernel.VOLUME_V]) / 1e8


def test_a_configured_volume_stays(new_feed: Any) -> None:
    feed = new_feed(vpin_bucket=2.5)
    for d in range(3):
        feed.trade(d * DAY + 1, size=100)
    assert v_of(feed) == 2.5


@pytest.mark.parametrize("volume", [0.0, 4e-9, -1.0])
def test_a_volume_under_a_lot_is_refused(volume: float) -> None:
    with pytest.raises(ValueError, match="less than one lot"):
        kernel.init(Instrument(vpin_bucket=volume), 1_000_000)


def test_it_is_a_fiftieth_of_the_mean_of_the_whole_days_and_fixed_for_the_day(new_feed: Any) -> None:
    feed = new_feed().trade(301, size=999)
    assert v_of(feed) == 0.0
    feed.trade(DAY + 1, size=60)
    assert v_of(feed) == 0.0
    feed.trade(2 * DAY, size=140)
    assert v_of(feed) == 60 / 50
    feed.trade(2 * DAY + 7, size=1000).trade(3 * DAY - 1, size=60)
    assert v_of(feed) == 60 / 50
    feed.row(3 * DAY)
    assert v_of(feed) == (60 + 1200) / 2 / 50


@pytest.mark.parametrize(("first", "counts"), [(0, True), (0.087, True), (300, True), (300.000001, False)])
def test_a_first_day_counts_if_its_first_trade_comes_within_five_minutes(
    new_feed: Any, first: float, counts: bool
) -> None:
    feed = new_feed().trade(DAY + first, size=50).trade(2 * DAY, size=1)
    assert v_of(feed) == (1.0 if counts else 0.0)


def test_a_day_without_volume_is_left_out(new_feed: Any) -> None:
    feed = new_feed().trade(301).trade(DAY + 1, size=100).trade(4 * DAY + 1, size=300).trade(5 * DAY, size=1)
    assert v_of(feed) == 200 / 50


def test_days_before_the_last_28_are_forgotten(new_feed: Any) -> None:
    feed = new_feed().trade(301)
    feed.trade(DAY + 1, size=5000)
    for d in range(2, 29):
        feed.trade(d * DAY + 1, size=50)
    feed.row(29 * DAY)  # days 1 to 28
    assert v_of(feed) == round((5000 + 27 * 50) / 28 / 50 * 1e8) / 1e8
    feed.row(30 * DAY)  # days 2 to 29, the last without a trade
    assert v_of(feed) == 1.0
    feed.row(57 * DAY - 1)
    assert v_of(feed) == 1.0
    feed.row(57 * DAY)
    assert v_of(feed) == 0.0


def test_it_is_one_lot_at_least(new_feed: Any) -> None:
    feed = new_feed().trade(301).trade(DAY + 1, size=1e-8).trade(2 * DAY, size=1)
    assert v_of(feed) == 1e-8
