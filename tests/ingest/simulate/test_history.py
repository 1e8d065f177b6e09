"""The simulated market: one world a seed, whatever span of it is looked at."""

from __future__ import annotations

import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.messages.check import check_header, check_trade
from ingest.messages.kinds import OrderBook, SocialPost, Trade
from ingest.recordings.venue_clock import Pace
from ingest.settings import instruments
from ingest.simulate.history import MARKET, SYMBOLS, history, live
from ingest.simulate.talk import CORPUS

T0 = 1_754_611_200_000
HOUR = 3_600_000


@pytest.fixture(scope="module")
def hour() -> list[tuple[str, OrderBook | Trade | SocialPost]]:
    return list(history(T0, T0 + HOUR))


def of(kind: type, hour: list, symbol: str) -> list:
    return [m for _, m in hour if isinstance(m, kind) and getattr(m, "symbol", None) == symbol]


def test_the_world_is_the_same_on_every_machine() -> None:
    book, trade = (
        next(m for k, m in history(T0, T0 + 9_000, symbols=["SIM-BTC"]) if k == kind) for kind in ("book", "trade")
    )
    assert isinstance(book, OrderBook)
    assert isinstance(trade, Trade)
    assert (book.timestamp, book.sequence, book.bids[0], book.asks[0]) == (
        T0 + 43,
        T0 // 500,
        (59202.01, 0.03079),
        (59202.16, 0.03628),
    )
    assert (trade.timestamp, trade.price, trade.size, trade.side) == (T0 + 62, 59202.01, 0.00629, "sell")


def test_another_seed_is_another_world() -> None:
    for kind in MARKET:
        one, other = (next(history(T0, T0 + HOUR, symbols=["SIM-BTC"], seed=seed, kinds=[kind]))[1] for seed in (1, 2))
        assert one != other


@settings(max_examples=20, deadline=None)
@given(start=st.integers(0, 60_000), first=st.integers(0, 400_000), second=st.integers(0, 60_000))
def test_spans_join_without_a_seam(start: int, first: int, second: int) -> None:
    a, b = T0 + start, T0 + start + first
    c = b + second
    parts = [*history(a, b, symbols=["SIM-BTC", "X"]), *history(b, c, symbols=["SIM-BTC", "X"])]
    assert parts == list(history(a, c, symbols=["SIM-BTC", "X"]))


def test_messages_come_by_event_time_and_are_received_a_little_later(hour: list) -> None:
    times = [m.timestamp for _, m in hour]
    assert times == sorted(times)
    assert times[0] >= T0
    assert times[-1] < T0 + HOUR
    assert all(1 <= m.received - m.timestamp <= 200 for _, m in hour)


def test_every_book_is_one_that_the_worker_takes(hour: list) -> None:
    for symbol in SYMBOLS:
        books = of(OrderBook, hour, symbol)
        assert len(books) == 7200
        numbers = [b.sequence for b in books]
        assert numbers == list(range(numbers[0], numbers[0] + 7200))
        for book in books:
            assert len(book.bids) == len(book.asks) == 20
            for side, order in ((book.bids, -1), (book.asks, 1)):
                prices = [price * order for price, _ in side]
                assert prices == sorted(set(prices))
                assert min(size for _, size in side) > 0
            assert 0 < book.bids[-1][0] < book.bids[0][0] < book.asks[0][0]


def test_prices_and_sizes_are_the_doubles_of_their_decimal_strings(hour: list) -> None:
    for symbol, price_digits, size_digits in (("SIM-BTC", 2, 5), ("SIM-ETH", 2, 4), ("SIM-SOL", 3, 2)):
        for price, size in of(OrderBook, hour, symbol)[5].bids:
            assert price == float(f"{price:.{price_digits}f}")
            assert size == float(f"{size:.{size_digits}f}")


def test_trades_are_at_the_touch_of_the_book_before_them_on_both_sides(hour: list) -> None:
    for symbol in SYMBOLS:
        last, sides, ids = None, Counter(), set()
        for _, message in hour:
            if getattr(message, "symbol", None) != symbol:
                continue
            if isinstance(message, OrderBook):
                last = message
            if not isinstance(message, Trade):
                continue
            check_trade(message)
            check_header(message.symbol, message.timestamp * 1000, message.received, 0)
            ids.add(message.trade_id)
            sides[message.side] += 1
            assert message.price == (last.asks if message.side == "buy" else last.bids)[0][0]
        assert len(ids) == sides.total()
        assert 3900 < sides.total() < 4800, "1.2 a second"
        assert min(sides.values()) > 1000


def test_fifty_vpin_buckets_are_full_within_two_hours(hour: list) -> None:
    known = instruments(Path(__file__).parents[3] / "ingest" / "instruments.toml")
    for symbol in SYMBOLS:
        volume = sum(t.size for t in of(Trade, hour, symbol))
        bucket = known[symbol].vpin_bucket
        assert bucket is not None
        assert 25 * bucket < volume < 60 * bucket


def test_prices_move_as_a_market_does(hour: list) -> None:
    for symbol in SYMBOLS:
        mids = [(b.bids[0][0] + b.asks[0][0]) / 2 for b in of(OrderBook, hour, symbol)]
        spread = max(mids) / min(mids) - 1
        assert 0.0005 < spread < 0.05
        assert max(abs(b / a - 1) for a, b in pairwise(mids)) < 0.001


def test_posts_come_every_40_seconds_at_least_more_when_the_price_moves_and_some_are_copies(hour: list) -> None:
    posts = [m for _, m in hour if isinstance(m, SocialPost)]
    assert len({p.id for p in posts}) == len(posts)
    for symbol in SYMBOLS:
        mine = [p for p in posts if p.symbols == [symbol]]
        gaps = [b.timestamp - a.timestamp for a, b in pairwise(mine)]
        assert all(0 <= gap <= 40_000 for gap in gaps)
        slots = Counter(p.timestamp // 30_000 for p in mine)
        assert len(slots) == 120  # of an hour: none is empty
        assert max(slots.values()) >= 4
        assert sum(n == 1 for n in slots.values()) >= 30
        assert all(symbol in p.text for p in mine)
    copies = [p for p in posts if p.text.startswith("RT ")]
    assert 0.05 < len(copies) / len(posts) < 0.2
    originals = {p.text for p in posts}
    assert sum(any(o in c.text for o in originals - {c.text}) for c in copies) > len(copies) * 0.7
    assert all(min(p.likes, p.reposts, p.replies, p.followers) >= 0 for p in posts)


def test_posts_are_kinder_after_a_rise_than_after_a_fall() -> None:
    mood: dict[bool, Counter] = {True: Counter(), False: Counter()}
    mid: dict[int, float] = {}
    span = 8 * HOUR
    for _, message in history(T0, T0 + span, symbols=["SIM-BTC"], kinds=["book"]):
        mid[message.timestamp // 1000] = message.bids[0][0]  # type: ignore[union-attr]
    for _, post in history(T0 + 300_000, T0 + span, symbols=["SIM-BTC"], kinds=["social"]):
        assert isinstance(post, SocialPost)
        if post.text.startswith("RT "):
            continue
        rose = mid[post.timestamp // 1000 - 1] > mid[post.timestamp // 1000 - 300]
        plain = post.text.replace("$SIM-BTC", "{s}").replace("SIM-BTC", "{s}")
        mood[rose][(plain in CORPUS["bullish"]) - (plain in CORPUS["bearish"])] += 1
    assert mood[True][1] > 1.5 * mood[True][-1]
    assert mood[False][-1] > 1.5 * mood[False][1]


def test_live_gives_each_message_once_its_time_has_come() -> None:
    clock = [T0 / 1000 + 2.0]
    early: list[float] = []

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    got = []
    for kind, message in live(T0, T0 + 5500, symbols=["SIM-BTC"], clock=lambda: clock[0], sleep=sleep):
        got.append((kind, message))
        early.append(message.received / 1000 - clock[0])  # type: ignore[operator]
    assert got == list(history(T0, T0 + 5500, symbols=["SIM-BTC"]))
    assert max(early) <= 1e-6
    assert clock[0] == pytest.approx(T0 / 1000 + 5.5, abs=0.5)


def test_live_tells_a_clock_right_behind_the_lateness_of_each_boundary_after_all_messages_before_it() -> None:
    pace = Pace(1_000_000, 250_000, 2_000_000)
    got = list(live(T0, T0 + 5500, symbols=["SIM-BTC", "SIM-ETH"], pace=pace, clock=lambda: T0 / 1000 + 9))
    clocks = [(message.timestamp - T0, message.symbols) for kind, message in got if kind == "clock"]
    assert clocks == [(at, ["SIM-BTC", "SIM-ETH"]) for at in (251, 1251, 2251, 3251, 4251, 5251)]
    times = [message.timestamp for _, message in got]
    assert times == sorted(times)
    spans = [
        live(a, b, symbols=["SIM-BTC"], pace=pace, clock=lambda: T0)
        for a, b in ((T0, T0 + 1251), (T0 + 1251, T0 + 3000))
    ]
    whole = live(T0, T0 + 3000, symbols=["SIM-BTC"], pace=pace, clock=lambda: T0)
    assert [event for span in spans for event in span] == list(whole)


def test_live_stops_when_it_is_told_to() -> None:
    stop = threading.Event()
    seen = 0
    for _ in live(T0, symbols=["SIM-BTC"], stop=stop, clock=lambda: T0 / 1000 + 1e6):
        seen += 1
        if seen == 100:
            stop.set()
    assert seen == 100
