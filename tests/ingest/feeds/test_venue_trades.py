"""Trades that a venue's feed missed: by consecutive ids, and after a lost connection."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from ingest.feeds.venue_trades import VenueTrades
from ingest.messages.kinds import Trade, since_us

T0 = 1_700_000_000_000


def trade(number: int | str | None, at: int) -> Trade:
    return Trade(T0 + at, "COINBASE:BTC-USD", 1.0, 1.0, trade_id=number)


@pytest.mark.parametrize("seed", range(5))
def test_every_missing_id_is_counted_in_the_gap_between_its_neighbours(seed: int) -> None:
    draw = random.Random(seed)
    heard = sorted(draw.sample(range(1, 500), 300))
    trades, gaps = VenueTrades("COINBASE"), []  # type: tuple[VenueTrades, list[Any]]
    for number in heard:
        taken = trades.take(trade(str(number), number))
        assert taken is not None
        gaps += [gap.message for gap in taken]
    missing = {(a, b): b - a - 1 for a, b in pairwise(heard) if b - a > 1}
    assert {(since_us(gap) // 1000 - T0, gap.timestamp - T0): gap.missing for gap in gaps} == missing


def test_a_repeated_trade_is_passed_over_where_ids_are_consecutive() -> None:
    trades = VenueTrades("COINBASE")
    assert [trades.take(trade(n, n)) for n in (5, 6, 6, 5)] == [[], [], None, None]


def test_a_venue_that_counts_from_a_lower_id_again_may_have_left_out_any_number() -> None:
    trades = VenueTrades("COINBASE")
    trades.take(trade(500, 7))
    (gap,) = (gap.message for gap in trades.take(trade(1, 9)) or [])
    assert (gap.timestamp, gap.missing) == (T0 + 9, None)  # type: ignore[union-attr]
    assert trades.take(trade(2, 10)) == []


@pytest.mark.parametrize("ids", [(1, 90, 17), ("a", "b", "c"), (None, None, None)])
def test_ids_that_are_not_consecutive_say_nothing(ids: tuple[int | str | None, ...]) -> None:
    trades = VenueTrades("KRAKEN")
    assert [trades.take(trade(number, i)) for i, number in enumerate(ids)] == [[], [], []]


def test_what_happened_while_nobody_heard_is_unknown_from_the_last_trade_on() -> None:
    trades = VenueTrades("KRAKEN")
    assert trades.missed("COINBASE:BTC-USD", (T0 + 99) * 1000, T0 + 100) == []
    trades.take(trade(None, 7))
    (gap,) = (gap.message for gap in trades.missed("COINBASE:BTC-USD", (T0 + 99) * 1000, T0 + 100))
    assert (gap.timestamp, since_us(gap), gap.received) == (T0 + 99, (T0 + 7) * 1000, T0 + 100)  # type: ignore[arg-type,union-attr]
