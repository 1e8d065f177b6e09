"""A venue of Binance's protocol on the loopback: plays a capture over a websocket, answers by REST, and loses connections on order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from ingest.messages.kinds import OrderBook
from ingest.simulate import history

T0 = 1_700_000_000_000
A, B = "BTCUSDT", "ETHUSDT"


@dataclass
class Snapshot:
    """At this place of the script, /depth answers so; the script goes on once the book of that event time is downstream."""

    symbol: str
    event_ms: int
    answer: bytes


class Disconnect:
    """At this place of the script the connection breaks; it goes on with whoever connects next."""


Step = bytes | Snapshot | Disconnect


@dataclass
class Venue:
    """Plays its script once, over as many connections as it takes; ``arrived`` says whether the book of a snapshot is downstream.

    ``trades`` are, by symbol, trades as ``/historicalTrades`` gives them, each with the step of the script from which on the venue has it.
    ``meanwhile`` is done once, before the venue gives the first of them.
    """

    script: Sequence[Step]
    arrived: Callable[[Snapshot], bool]
    trades: Mapping[str, Sequence[tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    meanwhile: Callable[[], None] | None = None
    url: str = ""
    asked: list[str] = field(default_factory=list)
    connections: int = 0
    wrong: list[str] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    _at: int = 0
    _answers: dict[str, bytes] = field(default_factory=dict)

    async def __aenter__(self) -> Venue:
        app = web.Application()
        app.router.add_get("/stream", self._play)
        app.router.add_get("/depth", self._depth)
        app.router.add_get("/historicalTrades", self._old_trades)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _depth(self, request: web.Request) -> web.Response:
        """The snapshot of where the script is; before there is one, an error, as a venue under load gives."""
        answer = self._answers.get(request.query["symbol"])
        return web.Response(body=answer, status=503 if answer is None else 200)

    async def _old_trades(self, request: web.Request) -> web.Response:
        """A page of trades; every third question is answered with 429 and a pause of nothing, or with an error."""
        self.asked.append(request.query_string)
        if len(self.asked) % 3 == 1:
            status = 429 if len(self.asked) % 2 else 503
            return web.Response(status=status, headers={"Retry-After": "0"}, text="too many")
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        first = int(request.query["fromId"])
        known = [trade for at, trade in self.trades.get(request.query["symbol"], ()) if at <= self._at]
        return web.json_response([trade for trade in known if trade["id"] >= first][: int(request.query["limit"])])

    async def _play(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        self.connections += 1
        while self._at < len(self.script):
            step = self.script[self._at]
            self._at += 1
            if isinstance(step, Disconnect):
                self._answers.clear()
                assert request.transport is not None
                request.transport.abort()
                return socket
            if isinstance(step, Snapshot):
                self._answers[step.symbol] = step.answer
                await self._until_arrived(step)
            else:
                await socket.send_str(step.decode())
        self.done.set()
        async for message in socket:  # open until the feed closes it
            if message.type is not WSMsgType.CLOSE:
                self.wrong.append(repr(message)[:100])
        return socket

    async def _until_arrived(self, step: Snapshot) -> None:
        deadline = asyncio.get_running_loop().time() + 20
        while not self.arrived(step):
            if asyncio.get_running_loop().time() > deadline:
                self.wrong.append(f"no book of {step.symbol} after its snapshot")
                return
            await asyncio.sleep(0.005)


def snapshot_of(bids: dict[str, str], asks: dict[str, str], last: int) -> bytes:
    """A /depth answer."""
    answer: dict[str, Any] = {"lastUpdateId": last}
    for name, side, down in (("bids", bids, True), ("asks", asks, False)):
        answer[name] = [[p, side[p]] for p in sorted(side, key=float, reverse=down)]
    return json.dumps(answer).encode()


def simulated(seconds: int) -> list[tuple[int, dict[str, Any]]]:
    """The simulated market in Binance's protocol: a snapshot a symbol first, then diffs between its books, and trades."""
    lines: list[tuple[int, dict[str, Any]]] = []
    books: dict[str, tuple[dict[float, float], dict[float, float]]] = {}
    update = {A: 1000, B: 5_000_000}
    trades = {A: 70, B: 900}  # ids are consecutive a symbol
    for _, m in history(T0, T0 + seconds * 1000, symbols=(A, B), seed=3, kinds=("book", "trade")):
        assert m.received is not None
        ns = m.received * 1_000_000
        if isinstance(m, OrderBook):
            new = (dict(m.bids), dict(m.asks))
            old = books.get(m.symbol)
            books[m.symbol] = new
            if old is None:
                levels = [[[str(p), str(q)] for p, q in side.items()] for side in new]
                answer = {"symbol": m.symbol, "lastUpdateId": update[m.symbol], "bids": levels[0], "asks": levels[1]}
                lines.append((ns, answer))
                continue
            changes = [
                [[str(p), str(now.get(p, 0))] for p in {**was, **now} if was.get(p) != now.get(p)]
                for was, now in zip(old, new, strict=True)
            ]
            first, update[m.symbol] = update[m.symbol] + 1, update[m.symbol] + 1 + sum(map(len, changes))
            data = {"e": "depthUpdate", "E": m.timestamp, "s": m.symbol, "U": first, "u": update[m.symbol]}
            stream = f"{m.symbol.lower()}@depth@100ms"
            lines.append((ns, {"stream": stream, "data": {**data, "b": changes[0], "a": changes[1]}}))
        else:
            data = {
                "e": "trade",
                "s": m.symbol,
                "T": m.timestamp,
                "p": str(m.price),
                "q": str(m.size),
                "t": trades[m.symbol],
            }
            trades[m.symbol] += 1
            lines.append((ns, {"stream": f"{m.symbol.lower()}@trade", "data": {**data, "m": m.side == "sell"}}))
    return lines
