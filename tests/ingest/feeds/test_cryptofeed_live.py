"""Venues through cryptofeed: its books and trades as our messages, lost and rebuilt books as gaps, a connection made anew."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import threading
import time
from collections.abc import AsyncIterator
from decimal import Decimal as D
from typing import Any

import pytest

pytest.importorskip("cryptofeed", reason="the extra `feeds` is not installed")

from cryptofeed.exchanges import Kraken
from cryptofeed.symbols import Symbols
from cryptofeed.types import OrderBook as TheirBook
from cryptofeed.types import Trade as TheirTrade
from hypothesis import given
from hypothesis import strategies as st

from ingest.feeds.cryptofeed_live import CryptofeedFeed, FeedError, Translator, venues
from ingest.feeds.ending import GIVE_UP_S
from ingest.messages.kinds import Gap, OrderBook, Trade, since_us, time_us
from ingest.publish.counts import Counts
from ingest.recordings.lines import Parsed

S = 1_700_000_000.0
MS = 1_700_000_000_000


class Told:
    """A translator, and what it put."""

    def __init__(self) -> None:
        self.out: list[Parsed] = []
        self.translator = Translator("KRAKEN", self._put, lambda: MS + 9000)

    async def _put(self, output: Any) -> None:
        self.out.append(output)

    def book(self, at: float | None, *, delta: Any = None, bids: Any = None) -> None:
        book = TheirBook(
            "KRAKEN", "BTC-USD", bids=bids or {D("99.5"): D("1"), D("98"): D("2")}, asks={D("101"): D("0.25")}
        )
        book.timestamp, book.delta = at, delta
        asyncio.run(self.translator.book(book, S + 0.25))

    def messages(self) -> list[Any]:
        return [output.message for output in self.out]


def test_a_book_is_the_best_levels_of_both_sides_at_the_venues_time() -> None:
    told = Told()
    told.book(S + 0.1234)
    bids, asks, none = [(99.5, 1.0), (98.0, 2.0)], [(101.0, 0.25)], (0.0, 0.0, 0.0)
    us = MS * 1000 + 123_400
    assert told.messages() == [OrderBook(0, "KRAKEN:BTC-USD", bids, asks, None, MS + 250, (none, none), us)]


def test_twenty_levels_are_enough() -> None:
    told = Told()
    told.book(S, bids={D(n): D(1) for n in range(1, 60)})
    (book,) = told.messages()
    assert [price for price, _ in book.bids] == [float(n) for n in range(59, 39, -1)]


@pytest.mark.parametrize("time", [None, "2023-11-14T22:13:20Z"])
def test_a_book_without_a_number_for_a_time_counts_when_it_was_received(time) -> None:
    told = Told()
    told.book(time)
    assert told.messages()[0].timestamp == MS + 250


def test_a_trade_has_the_aggressors_side_and_its_id() -> None:
    told = Told()
    for side, number in (("buy", "7"), ("sell", None), (None, None)):
        trade = TheirTrade("KRAKEN", "BTC-USD", side, D("0.5"), D("100.25"), S + 0.1, id=number)
        asyncio.run(told.translator.trade(trade, S + 0.2))
    first = Trade(MS + 100, "KRAKEN:BTC-USD", 100.25, 0.5, "buy", "7", MS + 200)
    assert told.messages()[0] == first
    assert [(m.side, m.trade_id) for m in told.messages()[1:]] == [("sell", None), (None, None)]


@given(us=st.integers(MS * 1000, 2 * MS * 1000))
def test_the_venues_microseconds_come_back_out_of_cryptofeeds_seconds(us: int) -> None:
    told = Told()
    asyncio.run(told.translator.trade(TheirTrade("KRAKEN", "BTC-USD", "buy", D(1), D(1), us / 1e6), S))
    assert time_us(told.messages()[0]) == us
    assert us % 1000 or told.messages()[0].timestamp == us // 1000


def test_a_book_built_anew_after_changes_follows_a_gap() -> None:
    told = Told()
    change = {"bid": [], "ask": []}
    told.book(S)
    told.book(S + 1, delta=change)
    told.book(S + 3)
    told.book(S + 4, delta=change)
    assert [o.kind for o in told.out] == ["book", "book", "gap", "book", "book"]
    assert told.messages()[2] == Gap(0, "KRAKEN:BTC-USD", MS + 250, (MS + 1000) * 1000 + 1)


def test_a_venue_that_sends_whole_books_only_has_no_gaps() -> None:
    told = Told()
    for n in range(3):
        told.book(S + n)
    assert [o.kind for o in told.out] == ["book"] * 3


def test_a_lost_connection_makes_its_books_unknown_once() -> None:
    told = Told()
    told.book(S + 1)
    for _ in range(2):
        asyncio.run(told.translator.lose(["BTC-USD", "NEVER-SEEN"]))
    assert told.messages()[1:] == [Gap(0, "KRAKEN:BTC-USD", MS + 9000, (MS + 1000) * 1000 + 1)]


@pytest.fixture
def kraken() -> Any:
    """cryptofeed's Kraken without a network: it is told the symbols that it would ask for."""
    Symbols.set("KRAKEN", {"BTC-USD": "XBT/USD", "XMR-USD": "XMR/USD", "ETH-CHF": "ETH/CHF"}, {"instrument_type": {}})
    yield Kraken
    Symbols.clear()


class Outlet:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.counts, self.stop, self.outputs = Counts(), threading.Event(), []
        self.client: Any = None  # no channel is silent here

    def write(self, outputs: Any) -> None:
        self.outputs += outputs


class Connection:
    """What cryptofeed connects with, playing frames; it breaks after each list of them but the last."""

    def __init__(self, plays: list[list[str]], finished: asyncio.Event) -> None:
        self.subscription = {"book": ["XMR/USD"]}
        self.last_message = S
        self.written: list[str] = []
        self._plays = plays
        self._finished = finished

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        yield self

    async def write(self, text: str) -> None:
        self.written.append(text)

    async def read(self) -> AsyncIterator[str]:
        for frame in self._plays.pop(0):
            yield frame
        if self._plays:
            raise ConnectionResetError("the venue hung up")
        self._finished.set()
        await asyncio.Event().wait()


class DeafConnection(Connection):
    """A venue that never answers the close of the connection."""

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        try:
            yield self
        finally:
            await asyncio.sleep(60)


def play(kraken: Any, plays: list[list[str]], kind: type[Connection] = Connection) -> tuple[Outlet, Connection]:
    outlet = Outlet()

    async def run() -> Connection:
        finished = asyncio.Event()
        feed = CryptofeedFeed("kraken", ["XMR-USD"], outlet, first_pause_s=0.001)
        connection = kind(plays, finished)
        feed._feed.connect = lambda: [
            (connection, feed._feed.subscribe, feed._feed.message_handler, feed._feed.authenticate)
        ]
        running = asyncio.create_task(feed.run())
        await asyncio.wait_for(finished.wait(), 20)
        feed.stop()
        await asyncio.wait_for(running, 20)
        return connection

    return outlet, asyncio.run(run())


SNAPSHOT = '[992,{"as":[["101.0","1.0","1"],["102.0","1.0","1"]],"bs":[["99.0","2.0","1"],["98.0","2.0","1"]]},"book-1000","XMR/USD"]'


def test_a_connection_that_breaks_is_made_anew_and_its_book_is_unknown_meanwhile(kraken, caplog) -> None:
    change = '[992,{"b":[["99.5","1.0","2"]]},"book-1000","XMR/USD"]'
    outlet, connection = play(kraken, [[SNAPSHOT, change], [SNAPSHOT]])
    assert [o.kind for o in outlet.outputs] == ["book", "book", "gap", "book", "gap"]
    assert [o.message.bids[0][0] for o in outlet.outputs if o.kind == "book"] == [99.0, 99.5, 99.0]
    assert len(connection.written) == 2, "it subscribes again"
    assert "the venue hung up" in caplog.text


TRADES = '[337,[["100.0","1.0","1700000000.5","b","l",""]],"trade","XMR/USD"]'


def test_trades_may_be_missing_from_the_last_one_until_the_next_connection_is_there(kraken) -> None:
    outlet, _ = play(kraken, [[TRADES], [SNAPSHOT, TRADES.replace("0.5", "9.5")]])
    gaps = [o.message for o in outlet.outputs if o.kind == "gap" and o.message.channel == "trade"]
    assert {since_us(gap) for gap in gaps} == {(MS + 500) * 1000, (MS + 9500) * 1000}
    kinds = [o.kind for o in outlet.outputs]
    assert kinds[:2] == ["trade", "gap"]
    assert "gap" in kinds[2 : kinds.index("book")], "told again when the connection is there"
    assert all(time_us(gap) > since_us(gap) for gap in gaps)


def test_a_feed_stops_in_time_though_its_venue_answers_no_close(kraken) -> None:
    began = time.monotonic()
    outlet, _ = play(kraken, [[SNAPSHOT]], DeafConnection)
    assert time.monotonic() - began < 20, "a second, and not the venue's minute"
    assert [o.kind for o in outlet.outputs] == ["book", "gap"], "the book is unknown from then on"


def test_a_feed_stops_in_time_while_redis_takes_nothing_and_its_venue_answers_no_close(kraken) -> None:
    class Stuck(Outlet):
        def write(self, outputs: Any) -> None:
            self.stop.wait(20)
            raise ConnectionError("given up")

    async def run() -> float:
        finished, outlet = asyncio.Event(), Stuck()
        feed = CryptofeedFeed("kraken", ["XMR-USD"], outlet, first_pause_s=0.001)
        parts = (feed._feed.subscribe, feed._feed.message_handler, feed._feed.authenticate)
        feed._feed.connect = lambda: [(DeafConnection([[SNAPSHOT] * 3], finished), *parts)]
        running = asyncio.create_task(feed.run())
        await asyncio.wait_for(finished.wait(), 20)
        began = time.monotonic()
        feed.stop()
        asyncio.get_running_loop().call_later(GIVE_UP_S, outlet.stop.set)  # as the command does
        with pytest.raises(ConnectionError, match="given up"):
            await asyncio.wait_for(running, 20)
        return time.monotonic() - began

    assert asyncio.run(run()) < 20, "and not the venue's minute"


WRONG_CHECKSUM = '[992,{"b":[["99.5","1.0","2"]],"c":"1"},"book-1000","XMR/USD"]'


@pytest.mark.parametrize("bad", ["{", '[1,{"b":[["x","y","z"]]},"book-1000","XMR/USD"]', WRONG_CHECKSUM])
def test_a_frame_that_cannot_be_or_a_wrong_checksum_ends_the_connection_not_the_feed(kraken, bad) -> None:
    outlet, _ = play(kraken, [[SNAPSHOT, bad], [SNAPSHOT]])
    assert [o.kind for o in outlet.outputs if o.kind == "gap"] == ["gap", "gap"]
    assert outlet.outputs[-2].kind == "book"


@pytest.mark.parametrize(
    ("venue", "ours"), [("binance-futures", "binance-futures"), ("binance-delivery", "binance-coinm")]
)
def test_cryptofeeds_feeds_of_binances_perpetuals_are_refused_and_ours_named(venue, ours) -> None:
    with pytest.raises(FeedError, match=f"Binance may give none.* python -m ingest feed {ours} BTCUSD"):
        CryptofeedFeed(venue, ["BTC-USDT-PERP"], Outlet())


def test_an_unknown_venue_or_symbol_says_so(kraken) -> None:
    with pytest.raises(FeedError, match=r"cryptofeed knows .*kraken"):
        CryptofeedFeed("krakn", ["BTC-USD"], Outlet())
    with pytest.raises(FeedError, match="kraken: UnsupportedSymbol"):
        CryptofeedFeed("kraken", ["NO-SUCH"], Outlet())
    assert {"kraken", "coinbase", "okx", "kraken-futures"} <= set(venues())


def test_a_recorded_capture_of_kraken_gives_books_that_are_never_crossed(kraken, recordings) -> None:
    frames = []
    for line in (
        gzip.decompress((recordings / "ws_cryptofeed" / "KRAKEN.ws.50.0.txt.gz").read_bytes()).decode().splitlines()
    ):
        stamp, _, frame = line.partition(": ")
        if stamp.replace(".", "").isdigit() and frame.endswith('"XMR/USD"]'):
            frames.append(frame)
    outlet, _ = play(kraken, [frames])
    books = [o.message for o in outlet.outputs if o.kind == "book"]
    assert len(books) > 20
    assert all(b.bids[0][0] < b.asks[0][0] for b in books)
    assert all(b.bids == sorted(b.bids, reverse=True) and b.asks == sorted(b.asks) for b in books)
    assert len(books) <= len(frames)
    assert [o.kind for o in outlet.outputs].count("gap") == 1, "every checksum is right: nothing breaks before the end"
