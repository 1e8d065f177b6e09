"""A venue of Binance's protocol that plays a capture by the clock, whoever listens: what nobody hears is lost, and is given by REST."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.integration.venue import simulated, snapshot_of

Line = tuple[int, dict[str, Any]]
"""When it came, in ns, and a frame of the venue; or a snapshot, which names its symbol."""
START_S = 120.0
EVERY_NTH_FAILS = 5
"""So often a question for old trades is answered with an error."""


def lines_of(folder: Path | None, seconds: float) -> list[Line]:
    """Return the books and trades of all captures in a folder, snapshots first; of simulated markets where there is no folder."""
    if folder is None:
        return sorted(simulated(round(seconds)), key=lambda line: "lastUpdateId" not in line[1])
    lines: list[Line] = []
    for path in sorted((folder / "ws_binance_hftbacktest").glob("spot_*.jsonl.gz")):
        symbol = path.name.split("_")[1].upper()
        for raw in gzip.decompress(path.read_bytes()).splitlines():
            stamp, _, body = raw.partition(b" ")
            message = json.loads(body)
            if "lastUpdateId" in message:
                lines.append((int(stamp), {"symbol": symbol, **message}))
            elif message["data"].get("e") in ("depthUpdate", "trade"):
                lines.append((int(stamp), message))
    lines.sort(key=lambda line: ("lastUpdateId" not in line[1], line[0]))  # the venue has its books from the start
    return lines


class Venue:
    """Begins when somebody listens, and lasts ``seconds``: a longer capture is cut, a shorter one is played slower.

    The times of its messages are moved so that they are those of now.

    Attributes
    ----------
    url : str
        Host and port.
    symbols : list of str
    trades : dict of str to list
        The trades so far, as ``/historicalTrades`` gives them.
    sent : int
        Frames so far, heard or not.
    ended : threading.Event
        Set behind the last frame.
    """

    def __init__(self, lines: Sequence[Line], seconds: float) -> None:
        frames = [line for line in lines if "lastUpdateId" not in line[1]]
        self._first_ns = frames[0][0]
        self._first_ms = min(message["data"]["E"] for _, message in frames[:100] if "E" in message["data"])
        end_ns = self._first_ns + seconds * 1e9
        self._stretch = max(1.0, (end_ns - self._first_ns) / (frames[-1][0] - self._first_ns))
        self._frames = [line for line in frames if line[0] < end_ns]
        self._books: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
        self._last: dict[str, int] = {}
        for message in (message for _, message in lines if "lastUpdateId" in message):
            self._books[message["symbol"]] = (dict(message["bids"]), dict(message["asks"]))
            self._last[message["symbol"]] = message["lastUpdateId"]
        self.symbols = sorted(self._books)
        self.trades: dict[str, list[dict[str, Any]]] = {symbol: [] for symbol in self.symbols}
        self.sent = self._asked = 0
        self.url = ""
        self.ended = threading.Event()
        self._listeners: dict[web.WebSocketResponse, float] = {}

    def heard_s(self) -> float:
        """Return for how long the newest connection has been open; 0 where none is."""
        since = max(self._listeners.values(), default=None)
        return 0.0 if since is None else time.monotonic() - since

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set."""
        app = web.Application()
        app.router.add_get("/stream", self._listen)
        app.router.add_get("/depth", self._depth)
        app.router.add_get("/historicalTrades", self._old_trades)
        app.router.add_get("/exchangeInfo", self._listed)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        playing = asyncio.create_task(self._play())
        await stop.wait()
        playing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await playing
        await runner.cleanup()

    async def _play(self) -> None:
        clock = asyncio.get_running_loop().time
        while not self._listeners:
            await asyncio.sleep(0.02)
        began, start_ms = clock(), time.time_ns() // 1_000_000
        for ns, message in self._frames:
            ahead = began + (ns - self._first_ns) / 1e9 * self._stretch - clock()
            if ahead > 0:
                await asyncio.sleep(ahead)
            data = dict(message["data"])
            for name in ("E", "T"):
                if name in data:
                    data[name] = start_ms + round((data[name] - self._first_ms) * self._stretch)
            self._apply(data)
            self.sent += 1
            text = json.dumps({**message, "data": data})
            for socket in list(self._listeners):
                with contextlib.suppress(ConnectionError):
                    await socket.send_str(text)
        self.ended.set()

    def _apply(self, data: dict[str, Any]) -> None:
        symbol = data["s"]
        if data["e"] == "trade":
            keys = {"id": "t", "price": "p", "qty": "q", "time": "T", "isBuyerMaker": "m"}
            self.trades[symbol].append({name: data[key] for name, key in keys.items()})
        elif data["u"] > self._last[symbol]:
            self._last[symbol] = data["u"]
            for side, changes in zip(self._books[symbol], (data["b"], data["a"]), strict=True):
                for price, size in changes:
                    if float(size):
                        side[price] = size
                    else:
                        side.pop(price, None)

    async def _listen(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._listeners[socket] = time.monotonic()
        try:
            async for _ in socket:  # answers pings
                pass
        finally:
            del self._listeners[socket]
        return socket

    async def _depth(self, request: web.Request) -> web.Response:
        symbol = request.query["symbol"]
        return web.Response(body=snapshot_of(*self._books[symbol], self._last[symbol]))

    async def _old_trades(self, request: web.Request) -> web.Response:
        self._asked += 1
        if self._asked % EVERY_NTH_FAILS == 0:
            return web.Response(status=503)
        first, most = int(request.query["fromId"]), int(request.query["limit"])
        known = [trade for trade in self.trades[request.query["symbol"]] if trade["id"] >= first]
        return web.json_response(known[:most])

    async def _listed(self, _: web.Request) -> web.Response:
        return web.json_response({"symbols": [{"symbol": symbol, "status": "TRADING"} for symbol in self.symbols]})


@contextlib.contextmanager
def venue(lines: Sequence[Line], seconds: float) -> Iterator[Venue]:
    """A venue that is served by a thread while the block runs."""
    one, ready, stop = Venue(lines, seconds), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(one.serve(ready, stop),))
    thread.start()
    try:
        if not ready.wait(START_S):
            raise RuntimeError("the venue does not start")
        yield one
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
