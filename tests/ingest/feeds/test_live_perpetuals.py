"""The live feeds of perpetuals, against a venue that delivers each stream at its own path only; and channels that die."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import redis

pytest.importorskip("aiohttp", reason="the extra `feeds` is not installed")

from ingest.feeds import binance_connection, binance_live, channels, open_interest
from ingest.feeds.binance_addresses import VENUES
from ingest.feeds.binance_live import BinanceFeed
from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.messages.kinds import Gap, OrderBook, Trade
from ingest.publish.outlet import Outlet
from ingest.recordings.binance import Binance
from ingest.recordings.lines import Line, Output, Parsed
from ingest.settings import Settings
from ingest.streams import keys
from tests.ingest.feeds.streams import EVERYTHING, ROUTED, Streams, until

FUNDING = 1_700_006_400_000


class Kept(Outlet):
    """An outlet that keeps what it gets."""

    def __init__(self, client: redis.Redis, prefix: str = "") -> None:
        super().__init__(client, Settings(), prefix=prefix)
        self.outputs: list[Output] = []

    def write(self, outputs: Any) -> None:
        self.outputs += outputs

    def of(self, kind: type[Any]) -> list[Any]:
        return [o.message for o in self.outputs if isinstance(o, Parsed) and type(o.message) is kind]


class Market:
    """What the venue says of one symbol."""

    def __init__(self, venue: Streams, symbol: str) -> None:
        self.venue = venue
        self.symbol = symbol
        self.update = 100
        self.trades = 0

    @property
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def depth(self, _: Any) -> dict[str, Any]:
        return {"lastUpdateId": self.update, "bids": [["100", "1"]], "asks": [["101", "1"]]}

    async def book(self) -> None:
        before, self.update = self.update, self.update + 3
        data = {"e": "depthUpdate", "E": self.now_ms, "s": self.symbol, "U": before + 1, "u": self.update}
        await self._send("depth@100ms", {**data, "pu": before, "b": [["99", str(self.update)]], "a": []})

    async def trade(self) -> None:
        self.trades += 1
        data = {"e": "aggTrade", "s": self.symbol, "a": self.trades, "p": "100.5", "q": "7", "f": self.trades}
        await self._send("aggTrade", {**data, "l": self.trades, "T": self.now_ms, "m": True, "nq": "7"})

    async def mark(self) -> None:
        data = {"e": "markPriceUpdate", "E": self.now_ms, "s": self.symbol, "p": "100.4", "i": "100", "r": "0.0001"}
        await self._send("markPrice@1s", {**data, "T": FUNDING})

    async def force(self) -> None:
        order = {
            "s": self.symbol,
            "S": "SELL",
            "o": "LIMIT",
            "f": "IOC",
            "q": "3",
            "p": "99",
            "ap": "99.5",
            "X": "FILLED",
        }
        await self._send(
            "forceOrder", {"e": "forceOrder", "E": self.now_ms, "o": {**order, "z": "2", "T": self.now_ms}}
        )

    def interest(self, request: Any) -> dict[str, Any]:
        return {"openInterest": "10659.509", "symbol": request.query["symbol"], "time": self.now_ms}

    async def _send(self, channel: str, data: dict[str, Any]) -> None:
        await self.venue.send(f"{self.symbol.lower()}@{channel}", data)


Scene = Callable[[Market, Kept], Awaitable[None]]


def play(
    scene: Scene, name: str, symbol: str, carried: Any, client: redis.Redis, record: Any = None, connections: int = 1
) -> Kept:
    async def run() -> Kept:
        async with Streams(carried).served() as venue:
            market = Market(venue, symbol)
            venue.answers = {"/v1/depth": market.depth}
            venue.answers["/v1/openInterest"] = market.interest
            venue.answers["/v1/exchangeInfo"] = lambda _: {"symbols": [{"symbol": symbol}]}
            rest = f"http://{venue.at}/v1"
            here = replace(
                VENUES[name], stream=f"ws://{venue.at}", rest=f"{rest}/depth", open_interest=f"{rest}/openInterest"
            )
            outlet = Kept(client, here.prefix)
            feed = BinanceFeed(
                here, [symbol], outlet, 5000, record=record, first_pause_s=0.001, connections=connections
            )
            running = asyncio.create_task(feed.run())
            try:
                await until(lambda: len(venue.peers) == connections * len(here.routes))
                await asyncio.wait_for(scene(market, outlet), 20)
            finally:
                feed.stop()
                await asyncio.wait_for(running, 5)
            return outlet

    return asyncio.run(run())


async def begin(market: Market, outlet: Kept) -> None:
    """Until the book is known, and a trade after a mark price was heard."""
    while not outlet.of(OrderBook):
        await market.book()
        await asyncio.sleep(0.002)
    await market.trade()
    await market.mark()
    await market.trade()
    await until(lambda: len(outlet.of(Trade)) == 2)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binance_connection, "WATCH_S", 0.002)
    monkeypatch.setattr(binance_live, "WATCH_S", 0.01)


@pytest.mark.parametrize(
    ("name", "symbol", "carried"),
    [
        ("binance-futures", "BTCUSDT", ROUTED),
        ("binance-coinm", "BTCUSD_PERP", ROUTED),
        ("binance-coinm", "BTCUSD_PERP", EVERYTHING),
    ],
)
def test_perpetuals_give_books_trades_and_funding_wherever_the_venue_has_its_streams(
    name: str, symbol: str, carried: Any, redis_client: redis.Redis
) -> None:
    outlet = play(begin, name, symbol, carried, redis_client)
    assert outlet.of(OrderBook)[0].bids[0] == (100.0, 1.0)
    (told,) = outlet.of(Derivatives)
    assert (told.mark, told.index, told.funding_rate, told.next_funding_time) == (100.4, 100.0, 0.0001, FUNDING)


def test_a_feed_says_from_when_on_it_hears_liquidations_and_again_after_a_lost_connection(
    redis_client: redis.Redis,
) -> None:
    record = io.BytesIO()

    def begins(outlet: Kept) -> list[Gap]:
        return [gap for gap in outlet.of(Gap) if gap.channel == "liquidation"]

    async def scene(market: Market, outlet: Kept) -> None:
        await begin(market, outlet)
        await market.force()
        await until(lambda: len(outlet.of(Liquidation)) == 1)
        lost = next(peer for peer in market.venue.open if peer.path == "/market/stream")
        lost.cut()
        await until(lambda: len(market.venue.peers) == 3)
        while len(begins(outlet)) == 1:
            await market.mark()
            await asyncio.sleep(0.005)
        await market.force()
        await until(lambda: len(outlet.of(Liquidation)) == 2)

    outlet = play(scene, "binance-futures", "BTCUSDT", ROUTED, redis_client, record)
    first, second = begins(outlet)
    marks = [told.timestamp for told in outlet.of(Derivatives) if told.mark]
    assert (first.since, first.timestamp) == (None, marks[0])
    assert second.since in marks and second.timestamp in marks
    assert [(one.side, one.price, one.size) for one in outlet.of(Liquidation)] == [("sell", 99.5, 2.0)] * 2
    assert replayed(record) == shown(outlet.outputs)


def test_open_interest_is_asked_for_at_its_own_pace_and_recorded(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_interest, "EVERY_S", 0.02)
    record = io.BytesIO()

    async def scene(market: Market, outlet: Kept) -> None:
        await begin(market, outlet)
        await until(lambda: len([told for told in outlet.of(Derivatives) if told.open_interest]) >= 3)

    outlet = play(scene, "binance-coinm", "BTCUSD_PERP", ROUTED, redis_client, record)
    told = [one for one in outlet.of(Derivatives) if one.open_interest]
    assert {(one.symbol, one.open_interest, one.mark) for one in told} == {("BTCUSD_PERP", 10659.509, None)}
    assert replayed(record) == shown(outlet.outputs)


def test_coin_margined_sizes_are_contracts_of_100_dollars_in_the_depths(redis_client: redis.Redis) -> None:
    outlet = play(begin, "binance-coinm", "BTCUSD_PERP", ROUTED, redis_client)
    bids, _ = outlet.of(OrderBook)[0].depth
    # the best bid is 49.75 bps below the mid, and its one contract is worth 100 USD
    assert list(bids) == [0.0, 0.0, 100.0]


def test_the_loss_of_one_path_leaves_the_channels_of_the_other(redis_client: redis.Redis) -> None:
    async def scene(market: Market, outlet: Kept) -> None:
        await begin(market, outlet)
        lost = next(peer for peer in market.venue.open if peer.path == "/market/stream")
        lost.cut()
        await until(lambda: len(market.venue.peers) == 3)
        n_books = len(outlet.of(OrderBook))
        await market.book()
        await until(lambda: len(outlet.of(OrderBook)) > n_books)
        assert [gap for gap in outlet.of(Gap) if gap.channel == "book"] == []

    play(scene, "binance-futures", "BTCUSDT", ROUTED, redis_client)


def test_a_muted_channel_is_unknown_and_told_in_redis_and_the_other_goes_on(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "QUIET_S", 0.15)
    monkeypatch.setattr(channels, "NEW_S", 0.15)
    monkeypatch.setattr(channels, "SPEAKS_S", 0.1)
    monkeypatch.setattr(channels, "MOMENT_S", 0.001)
    monkeypatch.setattr(channels, "USUAL", 1.0)
    record = io.BytesIO()
    field = b"BINANCE-FUTURES:BTCUSDT book"

    async def scene(market: Market, outlet: Kept) -> None:
        await begin(market, outlet)
        while not any(gap.channel == "book" for gap in outlet.of(Gap)):
            await market.trade()
            await market.mark()
            await asyncio.sleep(0.005)
        await until(lambda: redis_client.hkeys(keys.SILENT_CHANNELS) == [field])
        since_ms = int(redis_client.hget(keys.SILENT_CHANNELS, field))  # type: ignore[arg-type]
        assert 100 <= market.now_ms - since_ms <= 5000
        assert 0 < redis_client.ttl(keys.SILENT_CHANNELS) <= 60  # type: ignore[operator]
        n_trades = len(outlet.of(Trade))
        await market.trade()
        await until(lambda: len(outlet.of(Trade)) == n_trades + 1)
        await market.book()
        await until(lambda: not redis_client.exists(keys.SILENT_CHANNELS))
        assert outlet.outputs[-1].kind == "book", "nothing was missed, so the next diff makes it known"  # type: ignore[union-attr]

    outlet = play(scene, "binance-futures", "BTCUSDT", ROUTED, redis_client, record)
    assert replayed(record) == shown(outlet.outputs)


def shown(outputs: list[Output]) -> str:
    return json.dumps(outputs, default=repr)


def replayed(record: io.BytesIO) -> str:
    """What the parser makes of a recording."""
    parser, outputs = Binance(5000), []
    for number, raw in enumerate(record.getvalue().splitlines(), 1):
        outputs += parser.parse(Line("live", number, int(raw.partition(b" ")[0]), raw, True))
    return shown(outputs)


def test_what_two_connections_say_counts_once_and_its_recording_gives_the_same(redis_client: redis.Redis) -> None:
    record = io.BytesIO()

    async def scene(market: Market, outlet: Kept) -> None:
        await begin(market, outlet)
        lost = next(peer for peer in market.venue.open if peer.path == "/public/stream")
        for i in range(30):
            await market.book()
            await market.trade()
            if i == 10:
                lost.cut()
        await until(lambda: len(outlet.of(Trade)) == 32)
        await until(lambda: outlet.of(OrderBook)[-1].bids[-1] == (99.0, float(market.update)))

    outlet = play(scene, "binance-futures", "BTCUSDT", ROUTED, redis_client, record, connections=2)
    assert [trade.trade_id for trade in outlet.of(Trade)] == list(range(1, 33))
    books = outlet.of(OrderBook)
    assert [book.sequence for book in books] == list(range(books[0].sequence, books[0].sequence + len(books)))
    assert [type(o.message) for o in outlet.outputs if not isinstance(o, Parsed)] == [], "no repeat is refused"
    assert [gap.channel for gap in outlet.of(Gap)].count("book") == 1, "the end of the feed"
    assert record.getvalue().count(b'"e":"aggTrade"') + record.getvalue().count(b'"e": "aggTrade"') == 64
    assert replayed(record) == shown(outlet.outputs)
