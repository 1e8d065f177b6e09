"""Depth within a distance, and the slope of the book."""

from __future__ import annotations

import random
from decimal import Decimal
from math import isnan
from typing import Any

import numpy as np
import pytest

from transforms.catalog import MICROSTRUCTURE
from transforms.engine import Engine
from transforms.instrument import Instrument
from transforms.validation import OK

S = 1_000_000

# m = 1000; 10 bps are 1, 25 bps 2.5, 50 bps 5
BIDS = [(999.5, 1.0), (999.0, 2.0), (998.0, 4.0), (997.5, 8.0), (996.0, 16.0), (994.0, 32.0)]
ASKS = [(1000.5, 1.0), (1001.25, 2.0), (1002.0, 4.0), (1004.0, 8.0), (1005.5, 16.0)]


def row(feed: Engine, t_us: int) -> dict[str, float | None]:
    """The newest row by name."""
    values = [float(x) for x in feed.emit(t_us)[0][1]]
    return {name: None if isnan(x) else x for name, x in zip(MICROSTRUCTURE.names, values, strict=True)}


def depths(feed: Engine, t_us: int) -> list[float | None]:
    """Bid and ask by turns, within 10, 25 and 50 bps."""
    now = row(feed, t_us)
    return [now[f"depth_{side}_{bps}bps"] for bps in (10, 25, 50) for side in ("bid", "ask")]


def test_depth_by_hand_counts_the_edge_and_stops_past_it(new_feed: Any) -> None:
    row = new_feed().book(1, BIDS, ASKS).row(1)
    assert row["depth_bid_10bps"] == 999.5 + 2 * 999.0
    assert row["depth_bid_25bps"] == 999.5 + 2 * 999.0 + 4 * 998.0 + 8 * 997.5
    assert row["depth_bid_50bps"] == 999.5 + 2 * 999.0 + 4 * 998.0 + 8 * 997.5 + 16 * 996.0
    assert row["depth_ask_10bps"] == 1000.5
    assert row["depth_ask_25bps"] == 1000.5 + 2 * 1001.25 + 4 * 1002.0
    assert row["depth_ask_50bps"] == 1000.5 + 2 * 1001.25 + 4 * 1002.0 + 8 * 1004.0


def test_depth_is_null_where_the_last_level_is_still_within(new_feed: Any) -> None:
    row = new_feed().book(1, BIDS[:5], ASKS[:3]).row(1)
    assert row["depth_bid_25bps"] is not None
    assert row["depth_bid_50bps"] is None
    assert row["depth_ask_10bps"] is not None
    assert row["depth_ask_25bps"] is None
    assert row["depth_ask_50bps"] is None


def test_depth_is_zero_where_the_best_level_is_farther_out(new_feed: Any) -> None:
    row = new_feed().book(1, [(900.0, 1.0)], [(1100.0, 1.0)]).row(1)
    assert row["depth_bid_50bps"] == 0.0
    assert row["depth_ask_50bps"] == 0.0


def test_depth_that_a_message_carries_counts_in_place_of_its_levels():
    feed = Engine(Instrument(), S)
    feed.book(S, BIDS, ASKS, ((1.0, 2.0, None), (4.0, None, 6.0)))
    assert depths(feed, S) == [1.0, 4.0, 2.0, None, None, 6.0]
    feed.book(2 * S, BIDS[:5], ASKS[:3])
    assert depths(feed, 2 * S)[:2] == [999.5 + 2 * 999.0, 1000.5], "the next book carries none"


@pytest.mark.parametrize(("n_bid", "n_ask"), [(500, 500), (21, 500), (500, 2)])
def test_all_levels_of_a_deep_message_count_for_depth_and_twenty_for_the_rest(n_bid, n_ask):
    rng = random.Random(n_bid + n_ask)
    bids = [(round(1000 - 0.013 * (i + 1), 3), rng.randrange(1, 900) / 100) for i in range(n_bid)]
    asks = [(round(1000 + 0.013 * (i + 1), 3), rng.randrange(1, 900) / 100) for i in range(n_ask)]
    feed, cut = Engine(Instrument(), S), Engine(Instrument(), S)
    feed.book(S, bids, asks)
    cut.book(S, bids[:20], asks[:20])
    expected = []
    for bps in (10, 25, 50):
        for sign, side in ((-1, bids), (1, asks)):
            edge = Decimal(1000) * (1 + sign * Decimal(bps) / 10_000)
            worth = [(sign * (Decimal(str(p)) - edge) <= 0, Decimal(str(p)) * Decimal(str(q))) for p, q in side]
            expected.append(None if worth[-1][0] else float(sum(value for within, value in worth if within)))
    found = depths(feed, S)
    assert [x is None for x in found] == [x is None for x in expected]
    assert [x for x in found if x is not None] == pytest.approx([x for x in expected if x is not None], rel=1e-12)
    names = [name for name in MICROSTRUCTURE.names if not name.startswith("depth_")]
    assert [row(feed, S)[name] for name in names] == [row(cut, S)[name] for name in names]


@pytest.mark.parametrize("fault", [(2000.0, 1.0), (900.0, -1.0), (900.0, float("nan"))])
def test_a_fault_in_a_deep_level_makes_the_book_unknown(fault):
    feed = Engine(Instrument(), S)
    bids = [(1000.0 - i, 1.0) for i in range(30)]
    assert feed.book(S, [*bids, fault], [(1001.0, 1.0)]) != OK
    assert row(feed, S)["book_valid"] == 0


@pytest.mark.parametrize("mid", ["60002.0", "61000", "3004", "0.08", "0.000012004", "59998", "1847.2"])
def test_a_level_at_the_limit_itself_counts_whatever_rounding_makes_of_it(mid):
    for place, bps in enumerate((10, 25, 50)):
        # a level 1 bp from the mid, one at the limit, one far beyond
        bids, asks = (
            [(float(Decimal(mid) * (1 + sign * Decimal(x) / 10_000)), 2.0) for x in (1, bps, 999)] for sign in (-1, 1)
        )
        feed = Engine(Instrument(), S)
        feed.book(S, bids, asks)
        found = depths(feed, S)[2 * place : 2 * place + 2]
        assert found == [2 * bids[0][0] + 2 * bids[1][0], 2 * asks[0][0] + 2 * asks[1][0]]


def test_slope_of_evenly_filled_levels_by_hand(new_feed: Any) -> None:
    # m = 100, distances 1, 2, 3 % against cumulative sizes 5, 10, 15: 5 for each 0.01
    row = new_feed().book(1, [(99.0, 5.0), (98.0, 5.0), (97.0, 5.0)], [(101.0, 5.0), (102.0, 5.0), (103.0, 5.0)]).row(1)
    assert row["book_slope_bid"] == pytest.approx(500.0, rel=1e-12)
    assert row["book_slope_ask"] == pytest.approx(500.0, rel=1e-12)


def test_slope_agrees_with_numpy_and_stops_at_ten_levels(new_feed: Any) -> None:
    rng = np.random.default_rng(3)
    bids = list(zip(1000.0 - np.cumsum(rng.uniform(0.1, 2, 20)), rng.uniform(1, 9, 20), strict=True))
    asks = list(zip(1000.0 + np.cumsum(rng.uniform(0.1, 2, 20)), rng.uniform(1, 9, 20), strict=True))
    row = new_feed().book(1, bids, asks).row(1)
    mid = (bids[0][0] + asks[0][0]) / 2
    for name, side in (("book_slope_bid", bids), ("book_slope_ask", asks)):
        price, size = np.array(side[:10]).T
        slope = np.polyfit(np.abs(price - mid) / mid, np.cumsum(size), 1)[0]
        assert row[name] == pytest.approx(slope, rel=1e-9)


def test_slope_is_null_under_three_levels_of_that_side(new_feed: Any) -> None:
    row = new_feed().book(1, BIDS[:2], ASKS[:3]).row(1)
    assert row["book_slope_bid"] is None
    assert row["book_slope_ask"] is not None
