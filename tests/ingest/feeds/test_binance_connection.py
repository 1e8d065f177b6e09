"""Connections to a venue on a local socket: renewed before they end, several at once, and at the paths that the venue has."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="the extra `feeds` is not installed")

import aiohttp

from ingest.feeds import binance_connection, binance_socket
from ingest.feeds.binance_addresses import VENUES, Route
from ingest.feeds.binance_connection import LIFE_S, LIFE_SPREAD_S, OVERLAP_S, SPACING_S, SPEAK_S, Connections
from ingest.feeds.channels import Channels
from tests.ingest.feeds.streams import EVERYTHING, ROUTED, Streams, until

DEPTH, TRADE = "btcusdt@depth@100ms", "btcusdt@trade"
SPOT = Route(("depth@100ms", "trade"))


class Listening:
    """The connections of a route, what they put, and their clock."""

    def __init__(self, venue: Streams, route: Route = SPOT, **options: Any) -> None:
        self.now = 0.0
        self.lines: list[dict[str, Any]] = []
        names = {f"btcusdt@{channel}": ("BTCUSDT", channel) for channel in route.channels}
        channels = Channels(names, lambda: self.now)
        options = {"first_pause_s": 0.001, "clock": lambda: self.now, **options}
        self.connections = Connections(f"ws://{venue.at}", route, ["BTCUSDT"], channels, self._put, **options)

    async def _put(self, payload: bytes) -> None:
        self.lines.append(json.loads(payload))

    @property
    def notes(self) -> list[str]:
        """The lines about connections: how many speak, 0 for none."""
        return [line.get("n", 0) for line in self.lines if line.get("e") in ("connections", "disconnect")]

    def heard(self, number: int) -> int:
        """How often a frame with this number came."""
        return sum(line.get("data", {}).get("i") == number for line in self.lines)


Scene = Callable[[Streams, Listening], Awaitable[None]]


def play(scene: Scene, venue: Streams | None = None, **options: Any) -> Listening:
    async def run() -> Listening:
        async with (venue or Streams()).served() as streams, aiohttp.ClientSession() as http:
            listening = Listening(streams, **options)
            task = asyncio.create_task(listening.connections.listen(http))
            try:
                await scene(streams, listening)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            return listening

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binance_connection, "WATCH_S", 0.002)


async def opened(venue: Streams, listening: Listening, number: int) -> None:
    """Wait until the venue has seen so many connections, and the other end knows of the last one."""
    await until(lambda: len(venue.peers) == number and len(listening.connections._open) >= len(venue.open))


def test_before_a_day_is_over_a_second_connection_hears_every_stream_and_then_the_first_is_closed() -> None:
    async def scene(venue: Streams, listening: Listening) -> None:
        await opened(venue, listening, 1)
        listening.now = LIFE_S - 1
        await venue.send(DEPTH, {"i": 1})
        await until(lambda: listening.heard(1))
        assert len(venue.peers) == 1
        listening.now = LIFE_S + LIFE_SPREAD_S
        await opened(venue, listening, 2)
        await until(lambda: listening.notes == [1, 2])
        await venue.send(DEPTH, {"i": 2})
        await until(lambda: listening.heard(2) == 2)
        assert len(venue.open) == 2, "the second has not heard a trade yet"
        await venue.send(TRADE, {"i": 3})
        await until(lambda: len(venue.open) == 1)
        assert venue.open == venue.peers[1:]
        await venue.send(TRADE, {"i": 4})
        await until(lambda: listening.heard(4) == 1)
        assert listening.notes == [1, 2, 1]

    assert play(scene).notes == [1, 2, 1, 0], "only the end of the last is a lost connection"


def test_the_announced_end_of_a_server_opens_another_connection_at_once() -> None:
    async def scene(venue: Streams, listening: Listening) -> None:
        await opened(venue, listening, 1)
        listening.now = SPACING_S
        await venue.send("!serverShutdown", {"e": "serverShutdown", "E": 1_770_123_456_789})
        await opened(venue, listening, 2)
        await until(lambda: listening.notes == [1, 2])
        await venue.peers[0].socket.close()  # the server ends; the second has heard nothing yet
        await until(lambda: listening.notes == [1, 2, 1])
        await venue.send(TRADE, {"i": 1})
        await until(lambda: listening.heard(1) == 1)
        assert len(venue.peers) == 2

    play(scene)


def test_servers_that_all_announce_their_end_are_left_one_every_few_seconds() -> None:
    async def scene(venue: Streams, listening: Listening) -> None:
        for number in range(1, 4):
            await opened(venue, listening, number)
            await venue.send("!serverShutdown", {"e": "serverShutdown"}, only=venue.peers[-1])
            await venue.send(DEPTH, {"i": number}, only=venue.peers[-1])
            await venue.send(TRADE, {"i": number}, only=venue.peers[-1])
            await until(lambda: listening.heard(number) == 2)  # noqa: B023
            await until(lambda: len(venue.open) == 1)
            assert len(venue.peers) == number
            listening.now += SPACING_S

    play(scene)


def test_a_stream_that_stays_quiet_delays_the_end_of_the_first_connection_for_minutes_only() -> None:
    async def scene(venue: Streams, listening: Listening) -> None:
        await opened(venue, listening, 1)
        listening.now = LIFE_S + LIFE_SPREAD_S
        await opened(venue, listening, 2)
        await venue.send(DEPTH, {"i": 1})
        await until(lambda: listening.heard(1) == 2)
        listening.now += OVERLAP_S
        await until(lambda: venue.open == venue.peers[1:])

    play(scene)


def test_the_first_connection_speaks_on_while_no_second_can_be_opened() -> None:
    async def scene(venue: Streams, listening: Listening) -> None:
        await opened(venue, listening, 1)
        venue.refuses = 503
        listening.now = LIFE_S + LIFE_SPREAD_S
        await venue.send(DEPTH, {"i": 1})
        await until(lambda: listening.heard(1))
        venue.refuses = None
        await opened(venue, listening, 2)
        assert len(venue.open) == 2
        assert 0 not in listening.notes

    play(scene)


@pytest.mark.parametrize("wanted", [2, 3])
def test_of_several_connections_only_the_loss_of_the_last_is_a_lost_connection(wanted: int) -> None:
    async def scene(venue: Streams, listening: Listening) -> None:
        await opened(venue, listening, wanted)
        await venue.send(TRADE, {"i": 1})
        await until(lambda: listening.heard(1) == wanted)
        venue.refuses = 503
        for left in range(wanted - 1, 0, -1):
            venue.open[0].cut()
            await until(lambda left=left: listening.notes[-1] == left)
            await venue.send(TRADE, {"i": 10 + left})
            await until(lambda left=left: listening.heard(10 + left) == left)
        venue.open[0].cut()
        await until(lambda: listening.notes[-1] == 0)
        assert listening.notes.count(0) == 1
        venue.refuses = None
        await until(lambda: len(venue.open) == wanted)

    play(scene, wanted=wanted)


@pytest.mark.parametrize("lost", ["old", "new"])
def test_a_connection_that_breaks_while_another_takes_over_loses_nothing(lost: str) -> None:
    async def scene(venue: Streams, listening: Listening) -> None:
        await opened(venue, listening, 1)
        listening.now = LIFE_S + LIFE_SPREAD_S
        await opened(venue, listening, 2)
        await until(lambda: listening.notes == [1, 2])
        venue.peers[lost == "new"].cut()
        await until(lambda: listening.notes[:3] == [1, 2, 1])
        await venue.send(TRADE, {"i": 1})
        await until(lambda: listening.heard(1))
        if lost == "new":
            await opened(venue, listening, 3)
        assert 0 not in listening.notes

    play(scene)


def test_lines_about_the_connections_of_a_routed_venue_name_their_channels() -> None:
    public, market = VENUES["binance-futures"].routes

    async def scene(venue: Streams, listening: Listening) -> None:
        await opened(venue, listening, 1)
        venue.open[0].cut()
        await opened(venue, listening, 2)

    there = {"e": "connections", "s": ["BTCUSDT"], "n": 1}
    lost = {"e": "disconnect", "s": ["BTCUSDT"]}
    channels = {"channels": ["trade", "markPrice", "liquidation"]}
    routed = play(scene, Streams(ROUTED), route=market, is_only=False).lines
    assert routed[:2] == [there | channels, lost | channels]
    assert play(scene, Streams(ROUTED), route=public, is_only=False).lines[1] == {**lost, "channels": ["book"]}
    assert play(scene).lines[:2] == [there, lost]


@pytest.mark.parametrize(
    ("carried", "path"),
    [(ROUTED, "/market/stream"), (EVERYTHING, "/stream")],
)
def test_the_path_that_the_venue_has_is_found(carried: dict[str, tuple[str, ...]], path: str) -> None:
    market = VENUES["binance-coinm"].routes[1]

    async def scene(venue: Streams, listening: Listening) -> None:
        await opened(venue, listening, 1)
        assert venue.peers[0].path == path
        await venue.send("btcusdt@aggTrade", {"i": 1})
        await until(lambda: listening.heard(1))

    play(scene, Streams(carried), route=market)


def test_a_path_that_accepts_the_streams_and_gives_nothing_is_left_for_the_other() -> None:
    market = VENUES["binance-coinm"].routes[1]
    silent = {"/market/stream": (), **EVERYTHING}

    async def scene(venue: Streams, listening: Listening) -> None:
        await opened(venue, listening, 1)
        assert venue.peers[0].path == "/market/stream"
        listening.now += SPEAK_S
        await opened(venue, listening, 2)
        assert venue.peers[1].path == "/stream"
        await venue.send("btcusdt@markPrice@1s", {"i": 1})
        await until(lambda: listening.heard(1))
        listening.now += 10 * SPEAK_S
        await venue.send("btcusdt@markPrice@1s", {"i": 2})
        await until(lambda: listening.heard(2))
        assert len(venue.peers) == 2

    play(scene, Streams(silent), route=market)


def test_a_venue_that_accepts_and_never_answers_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binance_connection, "HANDSHAKE_S", 0.02)
    accepted: list[asyncio.StreamWriter] = []

    async def run() -> None:
        async with (
            await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0) as deaf,
            aiohttp.ClientSession() as http,
        ):
            listening = Listening(Streams(at=f"127.0.0.1:{deaf.sockets[0].getsockname()[1]}"))
            task = asyncio.create_task(listening.connections.listen(http))
            await until(lambda: len(accepted) > 1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for writer in accepted:
                writer.transport.abort()

    asyncio.run(run())


def test_the_address_asks_for_microseconds_only_where_the_venue_has_them() -> None:
    async def scene(venue: Streams, listening: Listening) -> None:
        await opened(venue, listening, 1)
        assert venue.peers[0].query["timeUnit"] == "MICROSECOND"
        assert venue.peers[0].names == [DEPTH, TRADE]

    play(scene, query="&timeUnit=MICROSECOND")
    assert {name for name, venue in VENUES.items() if venue.has_micros} == {"binance"}


def test_a_connection_that_gives_nothing_notes_when_the_venue_answers_and_a_frozen_network_answers_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(binance_socket, "ASK_NS", 0)

    def answers(listening: Listening) -> list[int]:
        return [line["at"] for line in listening.lines if line.get("e") == "alive"]

    async def scene(venue: Streams, listening: Listening) -> None:
        await opened(venue, listening, 1)
        await asyncio.sleep(0.01)
        assert not answers(listening), "nothing came, so nothing is known of the venue's clock"
        before_ms = time.time_ns() // 1_000_000
        await venue.send(DEPTH, {"i": 1})
        await until(lambda: len(answers(listening)) > 2)
        assert before_ms <= answers(listening)[0] <= answers(listening)[-1] <= time.time_ns() // 1_000_000
        assert venue.peers[0].request.transport is not None
        venue.peers[0].request.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.02)  # what is on its way
        frozen = answers(listening)
        await asyncio.sleep(0.02)
        assert answers(listening) == frozen

    play(scene)
