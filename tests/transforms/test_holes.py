"""Rows of trades with holes against the rows of all trades: each value is the same or null, and null exactly as long as it must be."""

from __future__ import annotations

import gzip
import json
import random
from math import isnan
from pathlib import Path

import pytest

from tests.transforms.tape_with_holes import (
    RECURSIVE,
    VALID,
    Book,
    Event,
    Rows,
    Trade,
    cut,
    differences,
    holes_of,
    market,
    rows,
)
from transforms.catalog import ORDER_FLOW
from transforms.engine import Engine
from transforms.example import HandFeed
from transforms.instrument import Instrument
from transforms.kernel import DAY_US, SECOND_US

MIDNIGHT_US = 19_000 * DAY_US


def values(found: Rows, view: str, name: str) -> dict[int, float]:
    return {t_us: views[view][name] for t_us, views in found.items() if view in views}


@pytest.mark.parametrize(
    ("seed", "cuts", "sided", "grid_us", "zone"),
    [
        (1, 1, 1.0, SECOND_US, None),
        (2, 12, 0.0, SECOND_US, None),
        (3, 5, 0.5, SECOND_US, "America/New_York"),
        (4, 2, 0.5, SECOND_US // 4, None),
        (5, 30, 0.9, SECOND_US, None),
    ],
)
def test_each_value_is_that_of_all_trades_or_null(
    seed: int, cuts: int, sided: float, grid_us: int, zone: str | None
) -> None:
    """Over a midnight and New York's 19:00, with trades that have a side and trades that have none."""
    rng = random.Random(seed)
    tape = market(
        rng, MIDNIGHT_US - 2400 * SECOND_US, 1.4 * min(1.0, grid_us / SECOND_US * 2), rng.choice((0.3, 2.0)), sided
    )
    session = {"session_timezone": zone, "session_open": "19:00"} if zone else {}
    instrument = Instrument(vpin_bucket=rng.choice((5.0, 50.0)), **session)
    left, holes = cut(rng, tape, cuts, longest_s=rng.choice((60.0, 400.0)))
    whole, part = rows(tape, [], instrument, grid_us), rows(left, holes, instrument, grid_us)
    assert differences(whole, part) == {}
    kept = sum(not isnan(v) for views in part.values() for row in views.values() for v in row.values())
    assert kept > 10_000, "most is null: nothing was compared"


def test_each_value_of_a_capture_is_that_of_all_trades_or_null(recordings: Path) -> None:
    tape: list[Event] = []
    with gzip.open(recordings / "ws_binance_hftbacktest" / "spot_btcusdt_20240808.jsonl.gz", "rt") as lines:
        for line in lines:
            if '@trade"' in line:
                data = json.loads(line.split(" ", 1)[1])["data"]
                tape.append(Trade(data["T"] * 1000, float(data["p"]), float(data["q"]), -1 if data["m"] else 1))
    tape.sort(key=lambda e: e.t_us)
    left, holes = cut(random.Random(7), tape, 6, longest_s=20.0)
    instrument = Instrument(size_digits=5, vpin_bucket=0.5)
    whole = rows(tape, [], instrument)
    assert differences(whole, rows(left, holes, instrument)) == {}
    untold = differences(whole, rows(left, [], instrument))
    assert untold["buy_volume_1m"] or untold["sell_volume_1m"], "the cuts change nothing, so nothing was tested"


@pytest.fixture(scope="module")
def one_hole() -> tuple[Rows, Rows, int, int]:
    """Three hours of dense trades with a hole of 10 s in the second, across the edge of a minute; all rows, those with it, its edges."""
    tape: list[Event] = []
    rng = random.Random(11)
    start_us = MIDNIGHT_US + 600 * SECOND_US
    for i in range(3 * 3600):
        t_us = start_us + i * SECOND_US + 400_000
        tape.append(Book(t_us - 100_000, 100.0 + rng.random()))
        tape.append(Trade(t_us, 100.0 + rng.choice((0.0, 0.5, 1.0)), rng.choice((1.0, 2.0)), rng.choice((1, -1))))
    first = start_us + 5991 * SECOND_US  # 1:49:51
    gone = {i for i, e in enumerate(tape) if isinstance(e, Trade) and first < e.t_us < first + 10 * SECOND_US}
    ((since_us, until_us),) = holes_of(tape, gone)
    left = [event for i, event in enumerate(tape) if i not in gone]
    instrument = Instrument(vpin_bucket=40.0)
    return rows(tape, [], instrument), rows(left, [(since_us, until_us)], instrument), since_us, until_us


MINUTE = 60
WINDOWS = {
    "delta_volume_1s": 1, "buy_volume_1m": MINUTE, "sell_volume_1m": MINUTE, "delta_volume_1m": MINUTE, "trade_count_1m": MINUTE,
    "avg_trade_size_1m": MINUTE, "side_inferred_share_1m": MINUTE, "trade_flow_imbalance_1m": MINUTE, "vwap_1m": MINUTE,
    "effective_spread_bps_1m": MINUTE, "delta_volume_5m": 300, "trade_flow_imbalance_5m": 300, "vwap_5m": 300, "kyle_lambda_5m": 300,
    "trade_rate_10s": 600,
}  # fmt: skip


def test_a_window_is_null_exactly_while_it_contains_the_hole(one_hole: tuple[Rows, Rows, int, int]) -> None:
    whole, part, since_us, until_us = one_hole
    for name, seconds in WINDOWS.items():
        expected = {t for t in part if since_us <= t < until_us + seconds * SECOND_US}
        nulls = {t for t, v in values(part, "order_flow", name).items() if isnan(v)}
        assert nulls - {t for t, v in values(whole, "order_flow", name).items() if isnan(v)} == expected, name


def test_a_realized_spread_lacks_the_trades_of_five_seconds_before(one_hole: tuple[Rows, Rows, int, int]) -> None:
    whole, part, since_us, until_us = one_hole
    nulls = {t for t, v in values(part, "order_flow", "realized_spread_bps_5s").items() if isnan(v)}
    nulls -= {t for t, v in values(whole, "order_flow", "realized_spread_bps_5s").items() if isnan(v)}
    assert nulls == {t for t in part if since_us <= t - 5 * SECOND_US < until_us + 60 * SECOND_US}


@pytest.mark.parametrize("minutes", [1, 5, 15])
def test_volatility_and_momentum_are_null_exactly_as_long(one_hole: tuple[Rows, Rows, int, int], minutes: int) -> None:
    whole, part, since_us, until_us = one_hole
    window_us = minutes * 60 * SECOND_US
    for name, expected in (
        (f"volatility_{minutes}m", {t for t in part if since_us <= t < until_us + window_us}),
        # unknown are the prices from the last trade before the hole on until the first one after it, now and a window ago
        (f"price_momentum_{minutes}m", {t for t in part if any(since_us <= x < until_us for x in (t, t - window_us))}),
    ):
        nulls = {t for t, v in values(part, "technical", name).items() if isnan(v)}
        assert nulls - {t for t, v in values(whole, "technical", name).items() if isnan(v)} == expected, name


def test_two_bars_with_the_hole_are_none(one_hole: tuple[Rows, Rows, int, int]) -> None:
    """The hole reaches from one minute into the next: their bars are missing from the end of the first on."""
    whole, part, since_us, until_us = one_hole
    minute_us = 60 * SECOND_US
    broken_us = -(-since_us // minute_us) * minute_us
    assert -(-until_us // minute_us) * minute_us == broken_us + minute_us
    for view, name, minutes in (
        ("technical", "parkinson_15m", 1 + 15),
        ("technical", "yang_zhang_15m", 1 + 16),
        ("technical", "bollinger_width", 1 + 20),
        ("order_flow", "amihud_60m", 1 + 61),
    ):
        nulls = {t for t, v in values(part, view, name).items() if isnan(v)}
        nulls -= {t for t, v in values(whole, view, name).items() if isnan(v)}
        assert nulls == {t for t in part if broken_us <= t < broken_us + minutes * minute_us}, name


def test_indicators_go_on_marked_until_250_bars_later_and_the_flags_are_1_when_every_window_is_whole() -> None:
    """A trade a minute over two days and a half, with a hole of two of them: the session begins anew, and 250 bars come."""
    whole, part = HandFeed(vpin_bucket=1.0), HandFeed(vpin_bucket=1.0)
    rng = random.Random(3)
    off: dict[str, list[int]] = {name: [] for name in VALID.values()}
    apart = 0
    for minute in range(1, 3600):
        price = 100.0 + rng.choice((0, 0.5, 1))
        whole.trade(60 * minute - 50, price)
        if minute == 999:
            part.lose_trades(60 * 998 - 50, 60 * 1001 - 50)
        if not 998 < minute < 1001:
            part.trade(60 * minute - 50, price)
        expected, row = whole.rows(at=60 * minute), part.rows(at=60 * minute)
        for name in VALID.values():
            assert expected[name] == 1.0
            if row.get(name) == 0.0:
                off[name].append(minute)
        if minute >= 1001:
            assert not any(isnan(row[name]) for name in RECURSIVE)
            apart += row["rsi_14"] != expected["rsi_14"]
            if row["trade_valid_bars"] == 1.0:
                assert [row[name] for name in RECURSIVE] == pytest.approx(
                    [expected[name] for name in RECURSIVE], rel=1e-6
                )
    assert apart > 100, "the hole changed nothing, so nothing was marked"
    # bars: the session that the hole is in, to midnight; order flow: 70 buckets of one trade from the midnight a day after the hole
    assert off["trade_valid_bars"] == list(range(999, 1440))
    assert off["trade_valid"] == list(range(1001, 2 * 1440 + 70)), "and no row while the last trade is over 60 s old"


@pytest.mark.parametrize("after_s", [0, 40, 2000])
def test_a_hole_that_is_told_late_leaves_no_wrong_value_after_it(after_s: int) -> None:
    for seed in range(2):
        rng = random.Random(seed)
        tape = market(rng, MIDNIGHT_US - 900 * SECOND_US, 0.9, 0.5, 0.7)
        left, holes = cut(rng, tape, 1, longest_s=90.0)
        whole = rows(tape, [], Instrument(vpin_bucket=20.0))
        part = rows(left, holes, Instrument(vpin_bucket=20.0), told_after_us=after_s * SECOND_US)
        told_us = holes[0][1] + after_s * SECOND_US
        assert differences(whole, {t: r for t, r in part.items() if t >= told_us or t < holes[0][0]}) == {}


def test_a_hole_before_the_first_trade_leaves_the_session_incomplete() -> None:
    feed = HandFeed()
    feed.lose_trades(30, 100)
    feed.trade(100, price=100.0)
    assert (feed.value("session_complete", at=101), feed.value("cvd", at=101)) == (0.0, None)
    assert (feed.value("trade_valid", at=102), feed.value("trade_valid_bars", at=102)) == (0.0, 0.0)


def test_a_hole_that_ends_before_a_session_begins_leaves_it_whole() -> None:
    feed = HandFeed()
    feed.trade(86_000, price=100.0)
    feed.lose_trades(86_000, 86_300)
    feed.trade(86_300, price=100.0, size=7.0)
    feed.trade(86_401, price=101.0, size=2.0)
    assert (feed.value("session_complete", at=86_402), feed.value("cvd", at=86_402)) == (1.0, 2.0)


def test_a_hole_over_midnight_breaks_both_sessions() -> None:
    feed = HandFeed()
    feed.trade(10, price=100.0)
    feed.trade(86_390, price=100.0)
    feed.lose_trades(86_390, 86_410)
    feed.trade(86_410, price=101.0)
    assert feed.value("cvd", at=86_411) is None
    feed.trade(2 * 86_400 + 1, price=101.0)
    assert feed.value("cvd", at=2 * 86_400 + 2) == 1.0


def test_a_day_with_a_hole_is_not_in_the_bucket_volume() -> None:
    """Days of 500 and 100 units; with a hole in the first, V is 100/50 and not 300/50."""
    for hole, v, closed in (
        (False, 6.0, 10),
        (True, 2.0, 0),
    ):
        # Without a hole, V of the second day is 10: it closes ten.
        feed = HandFeed()
        feed.trade(-10, price=100.0)
        feed.trade(10, price=100.0, size=500.0)
        if hole:
            feed.lose_trades(10, 20)
        feed.trade(86_400 + 10, price=100.0, size=100.0)
        feed.trade(2 * 86_400 + 10, price=100.0, size=(49 - closed) * v)
        assert feed.value("vpin", at=2 * 86_400 + 10) is None
        feed.trade(2 * 86_400 + 11, price=100.0, size=v)
        assert feed.value("vpin", at=2 * 86_400 + 11) == 1.0


def test_a_hole_told_after_midnight_takes_its_day_out_of_the_bucket_volume() -> None:
    feed = HandFeed()
    feed.trade(-10, price=100.0)
    feed.trade(10, price=100.0, size=500.0)
    feed.trade(86_400 + 10, price=100.0, size=100.0)
    feed.lose_trades(1000, 1200)
    feed.trade(2 * 86_400 + 10, price=100.0, size=300.0)
    assert feed.value("vpin", at=2 * 86_400 + 10) is None, "both days are out: V is not known"


def test_a_slot_with_a_hole_has_no_relative_volume_and_is_in_no_median() -> None:
    """Volumes 1 to 7 on seven days and 8 on the next; with a hole on the first day the median is that of 2 to 7 and needs a day more."""
    feed = HandFeed()
    feed.trade(60, price=100.0)
    for day in range(9):
        if day == 0:
            feed.lose_trades(650, 660)
        feed.trade(86_400 * day + 700, price=100.0, size=day + 1.0)
        if day == 7:
            assert feed.value("relative_volume", at=86_400 * 7 + 900) is None
    assert feed.value("relative_volume", at=86_400 * 8 + 900) == 9.0 / 5.0
    feed.lose_trades(86_400 * 8 + 850, 86_400 * 8 + 880)
    feed.trade(86_400 * 8 + 950, price=100.0)
    assert feed.value("relative_volume", at=86_400 * 8 + 1000) is None, "it was told late: the closed slot is unknown"


def test_a_side_that_hangs_on_a_price_in_the_hole_is_missing() -> None:
    """No side is given and no mid is known: after the hole the tick rule needs a change of price before it can tell one."""
    feed = HandFeed()
    for second, price in ((1, 100.0), (2, 101.0)):
        feed.trade(second, price, side=0)
    feed.lose_trades(2, 3)
    for second in range(3, 200):
        feed.trade(second, 101.0, side=0)
    assert feed.value("delta_volume_1m", at=199) is None
    feed.trade(200, 102.0, side=0)
    for second in range(201, 290):
        feed.trade(second, 102.0, side=0)
    assert feed.value("delta_volume_1m", at=289) == 60.0


def test_a_hole_without_a_begin_begins_at_the_newest_trade() -> None:
    engines = [Engine(Instrument(), SECOND_US) for _ in range(2)]
    for engine, since_us in zip(engines, (0, MIDNIGHT_US), strict=True):
        engine.trade(MIDNIGHT_US, 100.0, 1.0, 1)
        engine.lose_trades(since_us, MIDNIGHT_US + 5 * SECOND_US)
    assert engines[0].save() == engines[1].save()


def test_without_a_hole_nothing_says_that_there_was_one() -> None:
    found = rows(market(random.Random(3), MIDNIGHT_US, 0.2, 1.0, 1.0), [], Instrument())
    for view, name in VALID.items():
        assert set(values(found, view, name).values()) == {1.0}


def test_values_against_mids_are_null_exactly_while_their_window_lacks_books() -> None:
    """Ten seconds of books are lost, and told by the feed in the middle of them; every trade came."""
    rng = random.Random(5)
    whole, part = Engine(Instrument(), SECOND_US), Engine(Instrument(), SECOND_US)
    lost, told, back = range(701 * SECOND_US, 711 * SECOND_US), 705 * SECOND_US, 711 * SECOND_US + 300_000
    nulls: dict[str, set[int]] = {
        name: set() for name in ("kyle_lambda_5m", "effective_spread_bps_1m", "realized_spread_bps_5s")
    }
    for second in range(1, 1100):
        t_us = second * SECOND_US
        mid = 100.0 + rng.random()
        if t_us == told:
            part.lose_book(t_us)
        for engine in (whole, part):
            if engine is whole or t_us + 300_000 not in lost:
                engine.book(t_us + 300_000, [(mid - 0.5, 1.0)], [(mid + 0.5, 1.0)])
        price, side = mid + rng.random() - 0.5, rng.choice((1, -1))
        found = []
        for engine in (whole, part):
            engine.trade(t_us + 400_000, price, 1.0, side)
            found.append(next(list(row) for view, row in engine.emit(t_us + SECOND_US) if view is ORDER_FLOW))
        for name, times in nulls.items():
            all_books, some_books = (row[ORDER_FLOW.index[name]] for row in found)
            if t_us >= told and isnan(some_books) and not isnan(all_books):
                times.add(second + 1)
            elif t_us >= told:
                assert all_books == some_books, (name, second)
    for name, seconds in (("effective_spread_bps_1m", 60), ("realized_spread_bps_5s", 65), ("kyle_lambda_5m", 300)):
        assert nulls[name] == {s for s in range(1100) if told < s * SECOND_US < back + seconds * SECOND_US}, name
