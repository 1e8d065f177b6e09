"""Raw Binance captures whose price walks out of the snapshot: what is known, what is not, and the snapshot that mends it."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.messages.kinds import OrderBook
from ingest.recordings.binance import Binance
from ingest.recordings.lines import Line, Parsed
from tests.ingest.recordings.test_binance import books, diff, line, run, told


def snapshot(last: int, *, best_ask: float = 1000.5, size: str = "1", **named: Any) -> Line:
    """Five levels a side, so both are cut; a unit apart."""
    bids = [[str(999.5 - i), size] for i in range(5)]
    asks = [[str(best_ask + i), "1"] for i in range(5)]
    return line({"lastUpdateId": last, "bids": bids, "asks": asks, **named}, at=last, number=last)


def lift(*prices: float) -> list[list[str]]:
    """The change that removes these asks."""
    return [[str(price), "0"] for price in prices]


START = [snapshot(9), diff(10, 11)]
WALK = [diff(12, 13, asks=lift(1000.5, 1001.5, 1002.5)), diff(14, 15, asks=[["1006.5", "3"]])]


def test_depths_travel_with_the_book_and_are_null_past_the_snapshot() -> None:
    (book,) = books(run(START))
    # m = 1000: 10 bps reach 999 and 1001, 25 bps 997.5 and 1002.5, 50 bps 995 and 1005, which is past 1004.5
    assert book.depth == ((999.5, 999.5 + 998.5 + 997.5, None), (1000.5, 1000.5 + 1001.5 + 1002.5, None))


def test_a_level_past_the_snapshot_is_not_given_and_a_book_without_a_known_level_is_unknown() -> None:
    walk = [*WALK, diff(16, 17, asks=lift(1003.5, 1004.5)), diff(18, 19), diff(20, 21, asks=[["1003.0", "2"]])]
    outputs = run([*START, *walk])
    assert told(outputs) == ["book 11", "book 13", "book 15", "gap 17", "book 21"]
    assert [b.asks for b in books(outputs)[2:]] == [[(1003.5, 1.0), (1004.5, 1.0)], [(1003.0, 2.0)]]
    assert books(outputs)[-1].sequence == books(outputs)[-2].sequence + 1  # type: ignore[operator]


@pytest.mark.parametrize("last", [13, 14, 15])
def test_a_snapshot_makes_a_fading_book_known_further_whatever_diffs_it_overtakes_or_waits_for(last: int) -> None:
    feed = Binance(5000)
    # taken at update ``last``; it arrives after update 15
    asks = [["1003.5", "1"], ["1004.5", "1"], ["1005.5", "4"], ["1006.5", "3"], ["1007.5", "5"]]
    bids = [[str(999.5 - i), "1"] for i in range(5)]
    fresh = line({"lastUpdateId": last, "bids": bids, "asks": asks}, at=16)
    outputs = run([*START, *WALK, fresh, diff(16, 17), diff(18, 19)], feed)
    assert told(outputs) == ["book 11", "book 13", "book 15", "book 17", "book 19"]
    assert books(outputs)[2].asks == [(1003.5, 1.0), (1004.5, 1.0)]
    assert books(outputs)[-1].asks == [(float(price), float(size)) for price, size in asks]
    assert feed.fading() == []


def test_a_snapshot_of_another_book_is_not_taken_for_a_fading_one() -> None:
    feed = Binance(5000)
    outputs = run([*START, *WALK, snapshot(15, size="8"), snapshot(15, symbol="ETHUSDT"), diff(16, 17)], feed)
    assert books(outputs)[-1].asks == [(1003.5, 1.0), (1004.5, 1.0)]
    assert feed.fading() == ["BTCUSDT"]


def test_a_book_that_is_not_fading_keeps_no_diffs_and_asks_for_nothing() -> None:
    feed = Binance(5000)
    assert (
        all(isinstance(o, Parsed) and isinstance(o.message, OrderBook) for o in run([*START, WALK[1]], feed)) is False
    )
    feed = Binance(5000)
    run(START, feed)
    assert feed.fading() == feed.missing() == []
