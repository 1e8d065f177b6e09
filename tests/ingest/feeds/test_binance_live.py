"""The live feed of Binance without a venue; ``tests/integration/test_live_feed.py`` plays captures through it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence

import pytest
import redis

from feature_repo.stores.errors import UserError
from ingest.feeds.binance_addresses import VENUES
from ingest.feeds.binance_live import SYMBOLS_MAX, BinanceFeed
from ingest.feeds.pump import Pump
from ingest.publish.outlet import Outlet
from ingest.recordings.lines import Line
from ingest.settings import Settings

OUTLET = Outlet(redis.Redis(), Settings())  # never connects
NOW_NS = 1_700_000_000_000_000_000


@pytest.mark.parametrize(
    ("symbols", "wrong"),
    [
        (["BTC-USDT"], "'BTC-USDT' is no symbol"),
        ([], "0 symbols"),
        ([f"S{i}" for i in range(SYMBOLS_MAX + 1)], "101 symbols"),
    ],
)
def test_symbols_of_another_form_or_too_many_are_an_error(symbols: Sequence[str], wrong: str) -> None:
    with pytest.raises(UserError, match=wrong):
        BinanceFeed(VENUES["binance"], symbols, OUTLET, 5000)


def test_symbols_are_taken_in_any_case() -> None:
    assert BinanceFeed(VENUES["binance"], ["btcusdt", "BTCUSDT"], OUTLET, 5000)._symbols == ["BTCUSDT"]


def test_what_comes_is_recorded_one_line_each_and_parsed() -> None:
    record = io.BytesIO()
    feed = BinanceFeed(VENUES["binance"], ["BTCUSDT"], OUTLET, 5000, record=record, clock_ns=lambda: NOW_NS)
    items: list[tuple[Line, str | None]] = []

    async def put() -> None:
        feed._pump = Pump(feed._parse, OUTLET)
        await feed._put(b'{"e":"trade",\n"s":"BTCUSDT","T":1699999999999,"p":"2","q":"1","t":7,"m":true}')
        await feed._put(b"no JSON")
        items.extend(feed._pump._queue.get_nowait() for _ in range(2))  # type: ignore[misc]

    asyncio.run(put())
    trade, rejected = feed._parse(items)
    assert trade.message.side == "sell"  # type: ignore[union-attr]
    assert rejected.reason == "undecodable"  # type: ignore[union-attr]
    assert record.getvalue().count(b"\n") == 2
    assert record.getvalue().startswith(b"%d " % NOW_NS)
