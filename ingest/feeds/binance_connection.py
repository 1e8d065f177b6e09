"""The websocket connections of a feed to a venue with Binance's protocol.

A venue closes a connection after 24 hours, and may announce its end earlier (``serverShutdown``). So a successor is opened before, and the
old connection is closed once the successor has heard every stream::

    old        ---------------------------------x
    successor                     o-------------------------------
                                  opened        heard on every stream

Both give their frames meanwhile, and the parser passes over what was said before. More than one connection may be kept all the time.

What the parser must know of connections are lines among the frames, so a recording of them replays to the same messages::

    {"e":"connections","s":[symbols],"n":1}    one speaks, or several
    {"e":"disconnect","s":[symbols]}           none speaks any more
    {"e":"alive","at":1723161255000}           one gave nothing, and has answered a ping that was sent at this time (``venue_clock``)

They name the ``channels`` that the connections carry, where the venue gives its channels on several.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from random import random
from typing import TYPE_CHECKING, Any

import msgspec

from ingest.feeds.binance_addresses import Route
from ingest.feeds.binance_socket import Connection, is_regular, kind_of, stream_of
from ingest.feeds.binance_venue import RESTRICTED, RestrictedError
from ingest.feeds.channels import Channels
from ingest.publish.outlet import pauses

if TYPE_CHECKING:
    from aiohttp import ClientSession

FRAME_MAX_BYTES = 4 << 20
HANDSHAKE_S = 15.0  # how long the venue may take to open a connection
HEARTBEAT_S = 20.0
WATCH_S = 1.0  # between two looks at a connection
CLOSE_S = 0.3  # how long the venue may take to answer the close frame; it may go on sending and never answer
LIFE_S = 23 * 3600.0  # after which a successor is opened
LIFE_SPREAD_S = 1800.0  # up to so much later, so that not all connections are renewed at the same time
OVERLAP_S = 600.0  # how long a connection waits for its successor to hear every stream; some streams are quiet for long
SPACING_S = 5.0  # between two successors: venues bound the attempts (Binance: 300 in five minutes)
SPEAK_S = 15.0  # a path that gave nothing for so long is changed, where there is another
_LOG = logging.getLogger(__name__)


class Connections:
    """The connections to one route of a venue. All of them hear the same streams.

    Parameters
    ----------
    stream : str
        The address of the streams, without a path.
    route : Route
    symbols : sequence of str
        In upper case.
    channels : Channels
        Notes what is heard.
    put : callable
        Awaited with each frame, and with each line about the connections.
    wanted : int
        How many connections are kept.
    is_only : bool
        Whether this route carries all channels of the venue: then lines about connections need not name them.
    query : str
        Put behind the streams of the address.
    first_pause_s : float
        Wait before the first new attempt.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self,
        stream: str,
        route: Route,
        symbols: Sequence[str],
        channels: Channels,
        put: Callable[[bytes], Awaitable[None]],
        *,
        wanted: int = 1,
        is_only: bool = True,
        query: str = "",
        first_pause_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.names = [f"{symbol.lower()}@{channel}" for symbol in symbols for channel in route.channels]
        self._addresses = [f"{stream}{path}?streams=" + "/".join(self.names) + query for path in route.paths]
        self._regular = [name for name in self.names if is_regular(name.partition("@")[2])]
        self._at = 0  # which of the addresses is used
        told = dict.fromkeys(kind_of(channel) for channel in route.channels)
        self._carried = {} if is_only else {"channels": list(told)}
        self._symbols = symbols
        self._channels = channels
        self._put = put
        self._wanted = wanted
        self._first_pause_s = first_pause_s
        self._clock = clock
        self._open: set[Connection] = set()
        self.open_since = 0.0  # when frames could come again, seconds of the clock

    @property
    def is_open(self) -> bool:
        """Whether frames can come now."""
        return bool(self._open)

    async def listen(self, http: ClientSession) -> None:
        """Listen until cancelled. Raise `RestrictedError` where the venue does not serve this location."""
        lanes = [asyncio.create_task(self._keep_one(http)) for _ in range(self._wanted)]
        try:
            await asyncio.gather(*lanes)
        finally:
            tasks = (*lanes, *(connection.reading for connection in self._open))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_one(self, http: ClientSession) -> None:
        """Keep a connection open, until cancelled."""
        import aiohttp

        old: Connection | None = None
        attempts = pauses(self._first_pause_s)
        while True:
            try:
                new = await self._connect(http)
                why = await self._follow(old, new)
                if why is None:
                    old = new
                    continue
                if new.has_heard:
                    attempts = pauses(self._first_pause_s)
                what = "a connection is lost" if new.has_heard else "a connection gave nothing"
            except (TimeoutError, OSError, aiohttp.ClientError) as error:
                if getattr(error, "status", None) == RESTRICTED:
                    raise RestrictedError(self._addresses[self._at].partition("?")[0]) from None
                if isinstance(error, aiohttp.WSServerHandshakeError):
                    self._change_address()
                what, why = "no connection", f"{type(error).__name__}: {error}"
            if old is not None and old.reading.done():
                old = None
            pause = next(attempts)
            _LOG.warning("%s (%.200s): again in %.1f s", what, why, pause)
            await asyncio.sleep(pause)

    async def _connect(self, http: ClientSession) -> Connection:
        address = self._addresses[self._at]
        async with asyncio.timeout(HANDSHAKE_S):
            socket = await http.ws_connect(address, heartbeat=HEARTBEAT_S, max_msg_size=FRAME_MAX_BYTES, autoping=False)
        new = Connection(socket, self._regular, self._clock() + LIFE_S + LIFE_SPREAD_S * random())  # noqa: S311  # no secret
        if not self._open:
            self._channels.opened(self._regular)
            self.open_since = self._clock()
        self._open.add(new)
        new.reading = asyncio.create_task(self._read(new))
        _LOG.info("listening to %s", ", ".join(self._symbols))
        return new

    async def _read(self, connection: Connection) -> None:
        """Put the frames of a connection until it ends. However it ends, the venue has `CLOSE_S` to close it too."""
        from aiohttp import ClientError, WSMsgType

        try:
            await self.tell()
            async for frame in connection.socket:
                if frame.type is WSMsgType.PING:
                    await connection.socket.pong(frame.data)
                    continue
                if frame.type is WSMsgType.PONG:
                    if (at_ms := connection.asked_at(bytes(frame.data))) is not None:
                        await self._put(msgspec.json.encode({"e": "alive", "at": at_ms} | self._carried))
                    continue
                if not isinstance(frame.data, (str, bytes)):
                    break  # an error of the connection
                data = frame.data.encode() if isinstance(frame.data, str) else frame.data
                name = stream_of(data)
                connection.note(name)
                self._channels.hear(name)
                await self._put(data)
        except (OSError, ClientError) as error:
            connection.error = error
        finally:
            self._open.discard(connection)
            if not self._open:
                self._channels.closed(self._regular)
            await self.tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await connection.socket.close()

    async def tell(self) -> None:
        """Put the line that says how many connections speak."""
        n = len(self._open)
        line = {"e": "connections", "s": self._symbols, "n": n} if n else {"e": "disconnect", "s": self._symbols}
        await self._put(msgspec.json.encode(line | self._carried))

    async def _follow(self, old: Connection | None, new: Connection) -> str | None:
        """Wait until a connection needs a successor, and close the one before as soon as the new one has heard every stream.

        Return why it ended, if it ended before.
        """
        opened_s = self._clock()
        while True:
            now = self._clock()
            if old is not None and (new.is_whole or now - opened_s >= OVERLAP_S or old.reading.done()):
                old.reading.cancel()
                old = None
            if new.reading.done():
                return new.why_ended
            if not new.has_heard and now - opened_s >= SPEAK_S and self._change_address():
                new.reading.cancel()
                return f"nothing came for {SPEAK_S:.0f} s"
            is_due = new.is_due.is_set() or now >= new.due_s
            if old is None and is_due and now - opened_s >= SPACING_S:
                return None
            await new.ping()
            waits: set[asyncio.Task[Any]] = {new.reading}
            if old is None and not is_due:
                waits.add(asyncio.create_task(new.is_due.wait()))
            await asyncio.wait(waits, timeout=WATCH_S, return_when=asyncio.FIRST_COMPLETED)
            for due in waits - {new.reading}:
                due.cancel()

    def _change_address(self) -> bool:
        """Use the next address from now on, if there is another."""
        self._at = (self._at + 1) % len(self._addresses)
        return len(self._addresses) > 1
