"""Contracts through cryptofeed: what its venues tell of them as our messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal as D
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("cryptofeed", reason="the extra `feeds` is not installed")

from cryptofeed.exchanges import Bybit
from cryptofeed.symbols import Symbols
from cryptofeed.types import Funding, Index, OpenInterest
from cryptofeed.types import Liquidation as TheirLiquidation

from ingest.feeds.cryptofeed_contract import CHANNELS, LIQUIDATIONS, Contracts, subscription
from ingest.feeds.cryptofeed_live import venues
from ingest.messages.contract_kinds import Derivatives, Liquidation
from ingest.messages.kinds import Gap

S = 1_700_000_000.0
MS = 1_700_000_000_000
SETTLED_MS = MS + 3_600_000


class Told:
    """The callbacks of a venue, and what they put."""

    def __init__(self, venue: str) -> None:
        self.out: list[Any] = []
        self.contracts = Contracts(venue, self._put, lambda: MS + 9000)

    async def _put(self, output: Any) -> None:
        self.out.append(output.message)

    def funding(
        self, *, mark: Any = None, rate: Any = None, settled: Any = None, at: Any = S, received: float = S + 0.2
    ) -> None:
        told = Funding("V", "BTC-USD-PERP", mark, rate, settled, at)
        asyncio.run(self.contracts.funding(told, received))


def test_every_channel_that_is_asked_for_is_one_of_the_venue_in_this_version_of_cryptofeed() -> None:
    by_name = {kind.id.replace("_", "-"): kind for kind in venues().values()}
    for venue, channels in CHANNELS.items():
        assert set(channels) <= set(by_name[venue].websocket_channels)
        assert set(Told(venue).contracts.callbacks) == set(channels)


def test_contracts_have_more_channels_than_spot_and_funding_is_of_perpetuals_alone() -> None:
    symbols = ["BTC-USDT", "BTC-USDT-PERP", "BTC-USDT-24M28"]
    wanted = subscription("OKX", symbols)
    assert wanted == {
        "l2_book": symbols, "trades": symbols, "funding": ["BTC-USDT-PERP"], "open_interest": ["BTC-USDT-PERP", "BTC-USDT-24M28"],
    }  # fmt: skip
    assert subscription("OKX", ["BTC-USDT"]) == {"l2_book": ["BTC-USDT"], "trades": ["BTC-USDT"]}
    assert subscription("KRAKEN", ["BTC-USD"]) == {"l2_book": ["BTC-USD"], "trades": ["BTC-USD"]}


def test_a_time_may_be_in_seconds_or_in_milliseconds_and_one_ahead_is_that_of_the_settlement() -> None:
    told = Told("BYBIT")
    told.funding(mark=D("100.5"), rate=D("0.0001"), settled=SETTLED_MS, at=MS + 100)
    okx = Told("OKX")
    okx.funding(rate=D("-0.0002"), at=SETTLED_MS / 1000)
    kraken = Told("KRAKEN-FUTURES")
    kraken.funding(rate=D("0.0003"), settled=SETTLED_MS / 1000, at=S + 0.1)
    assert told.out == [Derivatives(MS + 100, "BYBIT:BTC-USD-PERP", 100.5, None, 0.0001, SETTLED_MS, received=MS + 200)]
    assert okx.out == [Derivatives(MS + 200, "OKX:BTC-USD-PERP", None, None, -0.0002, SETTLED_MS, received=MS + 200)]
    assert kraken.out[0].next_funding_time == SETTLED_MS


def test_of_each_kind_one_message_a_second_is_taken() -> None:
    told = Told("BYBIT")
    for at in (0.2, 0.7, 1.1, 1.2, 1.9):
        told.funding(mark=D(1), received=S + at)
        asyncio.run(told.contracts.interest(OpenInterest("BYBIT", "BTC-USD-PERP", D(7), MS), S + at))
        asyncio.run(told.contracts.index(Index("BYBIT", "BTC-USD-PERP", D(9), MS), S + at))
    assert [m.received - MS for m in told.out if m.mark] == [200, 1200]
    assert [m.open_interest for m in told.out if m.open_interest] == [7.0, 7.0]
    assert [m.index for m in told.out if m.index] == [9.0, 9.0]


def test_a_funding_that_tells_nothing_is_no_message() -> None:
    told = Told("OKX")
    told.funding()
    assert told.out == []


@pytest.mark.parametrize(("venue", "side"), [("BYBIT", "sell"), ("BITMEX", "buy")])
def test_the_side_of_a_liquidation_is_that_of_the_forced_order(venue: str, side: str) -> None:
    told = Told(venue)
    theirs = TheirLiquidation(venue, "BTC-USD-PERP", "buy", D("3"), D("99.5"), None, None, None)
    asyncio.run(told.contracts.liquidation(theirs, S + 0.5))
    assert told.out == [Liquidation(MS + 500, f"{venue}:BTC-USD-PERP", side, 99.5, 3.0, MS + 500)]


def test_a_connection_says_that_liquidations_are_heard_where_the_venue_tells_them() -> None:
    bybit, okx = Told("BYBIT"), Told("OKX")
    for told in (bybit, okx):
        asyncio.run(told.contracts.begin(["BTC-USD-PERP", "BTC-USD"]))
    assert bybit.out == [Gap(MS + 9000, "BYBIT:BTC-USD-PERP", MS + 9000, channel="liquidation")]
    assert okx.out == []


@pytest.fixture
def bybit() -> Iterator[Any]:
    """cryptofeed's Bybit without a network: it is told the symbols that it would ask for."""
    Symbols.set("BYBIT", {"BTC-USDT-PERP": "BTCUSDT"}, {"instrument_type": {"BTC-USDT-PERP": "perpetual"}})
    yield Bybit
    Symbols.clear()


def test_frames_of_bybit_become_messages_through_cryptofeeds_parser(bybit: Any) -> None:
    told = Told("BYBIT")
    wanted = subscription("BYBIT", ["BTC-USDT-PERP"])
    feed = bybit(config={"log": {"disabled": True}}, subscription=wanted, callbacks=told.contracts.callbacks)
    ticker = {"symbol": "BTCUSDT", "markPrice": "17217.33", "indexPrice": "17227.36", "openInterest": "68744.761"}
    ticker |= {"nextFundingTime": str(SETTLED_MS), "fundingRate": "-0.000212"}
    frame = {"topic": "tickers.BTCUSDT", "type": "snapshot", "data": ticker, "ts": MS + 50}
    forced = {"updatedTime": MS, "symbol": "BTCUSDT", "side": "Sell", "size": "0.003", "price": "43511.70"}
    connection = SimpleNamespace(subscription={channel: ["BTCUSDT"] for channel in wanted})

    async def hear() -> None:
        await feed._ticker_open_interest_funding_index(frame, S + 0.1, connection)
        await feed._liquidation({"topic": "liquidation.BTCUSDT", "ts": MS + 60, "data": forced}, S + 0.1)

    asyncio.run(hear())
    at = {"timestamp": MS + 50, "symbol": "BYBIT:BTC-USDT-PERP", "received": MS + 100}
    assert LIQUIDATIONS in wanted
    assert told.out == [
        Derivatives(**at, mark=17217.33, funding_rate=-0.000212, next_funding_time=SETTLED_MS),
        Derivatives(**at, open_interest=68744.761),
        Derivatives(**at, index=17227.36),
        Liquidation(MS + 60, "BYBIT:BTC-USDT-PERP", "buy", 43511.7, 0.003, MS + 100),
    ]
