"""What a venue of Binance's protocol says beside its streams, from a venue on a local socket, and how a feed of it ends."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

pytest.importorskip("aiohttp", reason="the extra `feeds` is not installed")

from aiohttp import web

from feature_repo.stores.errors import UserError
from ingest.cli import main
from ingest.feeds import binance_live, channels
from ingest.feeds.binance_live import BinanceFeed, Venue
from ingest.feeds.binance_venue import RestrictedError
from ingest.publish.outlet import Outlet
from ingest.settings import Settings

LISTED = {
    "symbols": [
        {"symbol": "BTCUSDT", "status": "TRADING", "filters": []},
        {"symbol": "BTCUSDC", "status": "TRADING"},
        {"symbol": "LUNAUSDT", "status": "BREAK"},
        {"symbol": "BTCUSD_261225", "contractStatus": "SETTLING"},
    ]
}
Handler = Callable[[web.Request], Any]


class Nowhere(Outlet):
    """An outlet that writes nothing."""

    def __init__(self) -> None:
        super().__init__(redis.Redis(), Settings())

    def write(self, outputs: Any) -> None:
        self.counts.lines += len(outputs)


async def nothing(_: web.Request) -> web.Response:
    return web.Response(status=404)


def answering(status: int, body: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    return answer


async def open_stream(request: web.Request) -> web.WebSocketResponse:
    """A stream that says nothing until the feed closes it."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for _ in socket:
        pass
    return socket


async def deaf_stream(request: web.Request) -> web.WebSocketResponse:
    """A stream that goes on sending and never answers a close frame."""
    socket = web.WebSocketResponse(autoclose=False)
    await socket.prepare(request)
    frame = json.dumps({"stream": "btcusdt@trade", "data": {"e": "other"}})
    while request.transport is not None and not request.transport.is_closing():
        await socket.send_str(frame)
        await asyncio.sleep(0.01)
    return socket


@asynccontextmanager
async def venue(
    *, listed: Handler = nothing, depth: Handler = nothing, stream: Handler = open_stream
) -> AsyncIterator[Venue]:
    app = web.Application()
    app.router.add_get("/exchangeInfo", listed)
    app.router.add_get("/depth", depth)
    app.router.add_get("/stream", stream)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    at = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield Venue(f"ws://{at}", f"http://{at}/depth")
    finally:
        await runner.cleanup()


def run(symbols: list[str], *, for_s: float = 0.2, **handlers: Handler) -> float:
    """Run a feed of such a venue, stop it after a while, and return how long the stop took."""

    async def both() -> float:
        async with venue(**handlers) as at:
            feed = BinanceFeed(at, symbols, Nowhere(), 5000, first_pause_s=0.02)
            running = asyncio.create_task(feed.run())
            await asyncio.wait({running}, timeout=for_s)
            began = time.monotonic()
            feed.stop()
            await asyncio.wait_for(running, 20)
            return time.monotonic() - began

    return asyncio.run(both())


def test_a_feed_stops_in_time_while_its_venue_goes_on_sending_and_answers_no_close() -> None:
    assert run(["BTCUSDT"], stream=deaf_stream) < 2.0


def test_a_feed_that_cannot_connect_stops_in_time() -> None:
    assert run(["BTCUSDT"], stream=answering(503, "busy")) < 1.0


@pytest.mark.parametrize(
    ("symbol", "near"),
    [("BTCUSDTT", "did you mean BTCUSDT"), ("btcusd", "did you mean BTCUSD"), ("XYZ", "no symbol XYZ")],
)
def test_a_mistyped_symbol_is_told_with_those_that_are_near(symbol: str, near: str) -> None:
    with pytest.raises(UserError, match=near):
        run([symbol], for_s=20, listed=answering(200, json.dumps(LISTED)))


def test_a_symbol_in_lower_case_is_found(caplog: pytest.LogCaptureFixture) -> None:
    run(["btcusdt", "lunausdt", "btcusd_261225"], listed=answering(200, json.dumps(LISTED)))
    assert "BTCUSD_261225 is listed, but not traded now: its status is SETTLING" in caplog.text
    assert "LUNAUSDT is listed, but not traded now: its status is BREAK" in caplog.text
    assert "BTCUSDT is" not in caplog.text


@pytest.mark.parametrize(
    "listed", [answering(503, "busy"), answering(200, "no JSON"), answering(200, '{"symbols": 1}')]
)
def test_a_list_that_cannot_be_read_is_a_warning_and_the_feed_goes_on(
    listed: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    run(["BTCUSDT"], listed=listed)
    assert "the symbols are not checked" in caplog.text


@pytest.mark.parametrize("refusing", ["listed", "stream"])
def test_a_restricted_location_ends_the_feed_and_names_another_way(refusing: str) -> None:
    with pytest.raises(RestrictedError, match=r"HTTP 451.*binance-us.*cryptofeed"):
        run(
            ["BTCUSDT"],
            for_s=20,
            **{refusing: answering(451, '{"msg":"Service unavailable from a restricted location"}')},
        )


async def one_diff(request: web.Request) -> web.WebSocketResponse:
    """A stream that sends a diff, for which the feed asks for a snapshot."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    now_ms = int(time.time() * 1000)
    diff = {"e": "depthUpdate", "E": now_ms, "s": "BTCUSDT", "U": 1, "u": 2, "b": [["1", "1"]], "a": [["2", "1"]]}
    await socket.send_str(json.dumps({"stream": "btcusdt@depth@100ms", "data": diff}))
    async for _ in socket:
        pass
    return socket


def test_the_venues_own_words_about_an_error_are_shown_bounded(caplog: pytest.LogCaptureFixture) -> None:
    words = '{"code":-1121,"msg":"Invalid symbol."}' + "x" * 5000
    run(["BTCUSDT"], stream=one_diff, depth=answering(400, words))
    said = next(line for line in caplog.text.splitlines() if "no snapshot of BTCUSDT" in line)
    assert 'HTTP 400: \'{"code":-1121,"msg":"Invalid symbol."}' in said
    assert len(said) < 600


def test_a_snapshot_that_is_refused_for_the_location_ends_the_feed() -> None:
    with pytest.raises(RestrictedError):
        run(["BTCUSDT"], for_s=20, stream=one_diff, depth=answering(451, "restricted"))


def test_a_silent_stream_is_told_in_the_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(channels, "QUIET_S", 0.1)
    monkeypatch.setattr(binance_live, "WATCH_S", 0.02)
    run(["BTCUSDT"], for_s=0.4, stream=deaf_stream)
    assert "of btcusdt@depth@100ms" in caplog.text and "the market may be quiet" in caplog.text


@pytest.mark.parametrize(
    ("name", "told"), [("binanse", "did you mean binance"), ("krakn", "did you mean kraken"), ("kafak", "kafka")]
)
def test_a_mistyped_venue_is_told_with_those_that_are_near(
    name: str, told: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "krakn":
        pytest.importorskip("cryptofeed")
    monkeypatch.setenv("TFS_REDIS_URL", redis_url)
    assert main(["feed", name, "BTCUSDT"]) == 2
    error = capsys.readouterr().err
    assert f"unknown venue '{name}': " in error and told in error
