"""The streams of a venue with Binance's protocol on a local socket: each stream is delivered at its own path only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

EVERYTHING = {"/stream": ("depth", "trade", "aggTrade", "markPrice", "forceOrder", "bookTicker")}
ROUTED = {
    "/public/stream": ("depth", "trade", "bookTicker"),
    "/market/stream": ("aggTrade", "markPrice", "forceOrder"),
    "/stream": ("depth", "trade", "bookTicker"),  # accepts the others and never delivers them
}


@dataclass
class Peer:
    """A connection: which streams it asked for, and where."""

    path: str
    query: Mapping[str, str]
    socket: web.WebSocketResponse
    request: web.Request
    names: list[str] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return not self.socket.closed and not (self.request.transport is None or self.request.transport.is_closing())

    def cut(self) -> None:
        """Break the connection without a close frame."""
        assert self.request.transport is not None
        self.request.transport.abort()


@dataclass
class Streams:
    """``carried`` are the channels of each path; a path that is not there is refused with 404. ``answers`` are REST answers by path."""

    carried: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: EVERYTHING)
    answers: dict[str, Callable[[web.Request], Any]] = field(default_factory=dict)
    refuses: int | None = None
    at: str = ""
    peers: list[Peer] = field(default_factory=list)

    @property
    def open(self) -> list[Peer]:
        return [peer for peer in self.peers if peer.is_open]

    async def send(self, name: str, data: Mapping[str, Any], only: Peer | None = None) -> None:
        """Send a message of a stream to every connection that asked for it at its path, or to one of them."""
        frame = json.dumps({"stream": name, "data": data})
        channel = name.partition("@")[2].partition("@")[0]
        for peer in [only] if only else self.open:
            if name.startswith("!") or (name in peer.names and channel in self.carried[peer.path]):
                await peer.socket.send_str(frame)

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        if self.refuses is not None or request.path not in self.carried:
            return web.Response(status=self.refuses or 404)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.peers.append(Peer(request.path, request.query, socket, request, request.query["streams"].split("/")))
        async for _ in socket:
            pass
        return socket

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        answer = self.answers.get(request.path)
        return web.Response(status=404) if answer is None else web.json_response(answer(request))

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Streams]:
        app = web.Application()
        for path in ("/stream", "/public/stream", "/market/stream"):
            app.router.add_get(path, self._listen)
        app.router.add_get("/{rest:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.at = f"127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()


async def until(holds: Callable[[], object], limit_s: float = 5.0) -> None:
    """Wait until something holds; fail after a time that no sound run takes."""
    async with asyncio.timeout(limit_s):
        while not holds():
            await asyncio.sleep(0.001)
