"""volume_profile: the exact share by price, sessions, and what happens when the distinct prices are too many."""

from __future__ import annotations

import gzip
import json
import random
from bisect import bisect_right
from collections import Counter
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.technical.conftest import HandFeed
from transforms.kernel import zeros
from transforms.technical import price_cells

DAY = 86_400 * 19_000


def test_the_share_counts_what_was_traded_at_or_below_the_last_price(feed: HandFeed) -> None:
    # 50 at 100, 30 at 101, 20 at 102, and the last trade is at 101: 80 of 100
    for i in range(99):
        feed.trade(DAY, 100.0 if i < 50 else 101.0 if i < 79 else 102.0)
    assert feed.row(DAY + 1)["volume_profile"] is None  # 99 trades
    feed.trade(DAY + 2, 101.0)
    assert feed.row(DAY + 2)["volume_profile"] == 0.8


def test_two_prices_of_one_row_are_told_apart(feed: HandFeed) -> None:
    # rows are 5 high at this price, both lie in [61580, 61585)
    for i in range(100):
        feed.trade(DAY, 61583.22 if i % 4 else 61583.21)
    assert feed.trade(DAY + 1, 61583.21).row(DAY + 1)["volume_profile"] == 26 / 101


def test_sizes_are_summed_as_whole_lots(feed: HandFeed) -> None:
    # 0.1 + 0.2 is not 0.3 in doubles, but 10,000,000 + 20,000,000 lots of 1e-8 is
    for i in range(99):
        feed.trade(DAY, 100.0, 0.1 if i % 2 else 0.2)
    feed.trade(DAY, 101.0, 15.1)
    # 50 of 0.2 and 49 of 0.1: 14.9 of 30.0
    assert feed.trade(DAY + 1, 100.0, 0.1).row(DAY + 1)["volume_profile"] == 15.0 / 30.1


def test_a_session_ends_at_midnight_and_a_trade_at_midnight_is_the_new_ones(feed: HandFeed) -> None:
    feed.trade(DAY - 1, 100.0)
    for i in range(150):
        feed.trade(DAY + 86_400 - 200 + i, 100.0 + i % 3)
    assert feed.row(DAY + 86_399)["volume_profile"] is not None
    assert feed.row(DAY + 86_400)["volume_profile"] is None
    feed.trade(DAY + 86_400, 200.0)
    for i in range(98):
        feed.trade(DAY + 86_401, 201.0 + i % 2)
    assert feed.row(DAY + 86_401)["volume_profile"] is None  # 99 trades of the new day
    # 1 at 200, 49 at 201, 49 at 202, and one more at 201: 51 of 100 at or below it, none of yesterday's
    assert feed.trade(DAY + 86_402, 201.0).row(DAY + 86_402)["volume_profile"] == 0.51


def test_without_a_trade_in_the_new_session_there_is_no_profile(feed: HandFeed) -> None:
    for i in range(100):
        feed.trade(DAY + 86_300 + i / 10, 100.0)
    row = feed.row(DAY + 86_401)
    assert [row[name] for name in ("poc", "value_area_low", "value_area_high", "poc_dev_bps", "volume_profile")] == [
        None
    ] * 5


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 9)), min_size=1, max_size=120))
def test_the_finger_always_knows_the_exact_sum(trades: list[tuple[int, int]]) -> None:
    state = zeros(price_cells.SIZE)
    price_cells.reset(state, 0)
    volume: Counter[float] = Counter()
    for tick, lots in trades:
        price = tick / 100
        price_cells.add(state, 0, price, float(lots), 1.0, 1000.0)
        volume[price] += lots
        assert state[price_cells.BELOW] == sum(v for p, v in volume.items() if p <= price)


def test_more_prices_than_cells_lose_no_volume_and_little_precision() -> None:
    rng = random.Random(1)
    feed = HandFeed()
    prices: list[float] = []
    lots: list[int] = []
    price = 60_000.0
    worst = exact = 0.0
    for i in range(30_000):
        price = round(price + rng.gauss(0, 1.5), 2)
        prices.append(price)
        lots.append(rng.randrange(1, 1000))
        feed.trade(DAY + i // 10, price, lots[-1] / 1e8)
        if i % 500 == 499:
            share = feed.row(DAY + i // 10)["volume_profile"]
            assert share is not None
            true = sum(q for p, q in zip(prices, lots, strict=True) if p <= price) / sum(lots)
            if len(set(prices)) < price_cells.CELLS:
                assert share == true
                exact += 1
            else:
                # the cell of the last price counts whole: no more volume than lies within two cells' height of it
                height = 2 * (max(prices) - min(prices)) / 768
                near = sum(q for p, q in zip(prices, lots, strict=True) if abs(p - price) <= height) / sum(lots)
                assert true <= share <= true + near
                worst = max(worst, share - true)
    assert len(set(prices)) > 2 * price_cells.CELLS
    assert exact > 3
    assert worst < 0.005


def test_prices_from_nowhere_do_not_break_the_table() -> None:
    feed = HandFeed()
    rng = random.Random(6)
    for i in range(4 * price_cells.CELLS):
        feed.trade(DAY + i // 10, 10.0 ** rng.uniform(-300, 300), 10.0 ** rng.uniform(-8, 15))
    share = feed.row(DAY + 2000)["volume_profile"]
    assert share is not None
    assert 0.0 < share <= 1.0


@pytest.mark.parametrize("symbol", ["btcusdt", "ethusdt"])
def test_every_second_of_a_recording_has_the_exact_share(recordings: Path, symbol: str) -> None:
    trades: list[tuple[int, float, int]] = []
    with gzip.open(recordings / "ws_binance_hftbacktest" / f"spot_{symbol}_20240808.jsonl.gz", "rt") as file:
        for line in file:
            message = json.loads(line[line.index(" ") + 1 :]).get("data", {})
            if message.get("e") == "trade":
                trades.append((message["T"], float(message["p"]), round(float(message["q"]) * 1e8)))
    trades.sort(key=lambda trade: trade[0])
    times = [trade[0] for trade in trades]
    midnight = 1_723_161_600
    feed = HandFeed().trade(midnight - 90_000, trades[0][1])  # the symbol was heard the day before
    done = compared = 0
    for t in range(times[0] // 1000 + 1, midnight):
        seen = bisect_right(times, t * 1000)
        for at, price, lots in trades[done:seen]:
            feed.trade(at / 1000, price, lots / 1e8)
        done = seen
        share = feed.row(t)["volume_profile"]
        if seen < 100:
            assert share is None
            continue
        last = trades[seen - 1][1]
        total = list(accumulate(lots for _, _, lots in trades[:seen]))[-1]
        assert share == sum(lots for _, price, lots in trades[:seen] if price <= last) / total
        compared += 1
    assert compared > 300
