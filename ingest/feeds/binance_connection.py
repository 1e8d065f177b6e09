"""The websocket connection of a venue with Binance's protocol: opened again whenever it ends, until it is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from ingest.feeds.binance_venue import RESTRICTED, RestrictedError, Silences
from ingest.publish.outlet import pauses

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientWebSocketResponse

FRAME_MAX_BYTES = 4 << 20
HEARTBEAT_S = 20.0
WATCH_S = 1.0  # between two looks for silent streams
CLOSE_S = 1.0  # how long the venue may take to answer the close frame; it may go on sending and never answer
_LOG = logging.getLogger(__name__)


class Connection:
    """The frames of the streams of some symbols.

    Parameters
    ----------
    stream : str
        The address of the combined streams, without a path.
    symbols : sequence of str
        In upper case; a lost connection is a line that names them.
    silences : Silences
        Which streams to ask for; it notes what is heard.
    put : callable
        Awaited with each frame, and with each line about a lost connection.
    first_pause_s : float
        Wait before the first new attempt.

    Attributes
    ----------
    is_open : bool
        Whether frames can come now.
    """

    def __init__(
        self,
        stream: str,
        symbols: Sequence[str],
        silences: Silences,
        put: Callable[[bytes], Awaitable[None]],
        first_pause_s: float = 1.0,
    ) -> None:
        self.is_open = False
        self._stream = stream
        self._symbols = symbols
        self._silences = silences
        self._put = put
        self._first_pause_s = first_pause_s

    async def listen(self, http: ClientSession) -> None:
        """Listen until cancelled. Raise `RestrictedError` where the venue does not serve this location."""
        import aiohttp

        address = f"{self._stream}/stream?streams=" + "/".join(self._silences.streams)
        attempts = pauses(self._first_pause_s)
        while True:
            heard = False
            try:
                async with self._connection(http, address) as socket:
                    async for frame in socket:
                        if not isinstance(frame.data, (str, bytes)):
                            break  # an error of the connection
                        heard = True
                        data = frame.data.encode() if isinstance(frame.data, str) else frame.data
                        self._silences.hear(data)
                        await self._put(data)
                    why = str(socket.exception() or f"code {socket.close_code}")
            except (TimeoutError, OSError, aiohttp.ClientError) as error:
                if getattr(error, "status", None) == RESTRICTED:
                    raise RestrictedError(self._stream) from None
                why = f"{type(error).__name__}: {error}"
            if heard:
                attempts = pauses(self._first_pause_s)
            pause = next(attempts)
            what = "the connection is lost" if heard else "no connection"
            _LOG.warning("%s (%.200s): again in %.1f s", what, why, pause)
            await asyncio.sleep(pause)

    @contextlib.asynccontextmanager
    async def _connection(self, http: ClientSession, address: str) -> AsyncIterator[ClientWebSocketResponse]:
        """Open a connection. However it ends, the books count as unknown from then on, and the venue has `CLOSE_S` to close it too."""
        socket = await http.ws_connect(address, heartbeat=HEARTBEAT_S, max_msg_size=FRAME_MAX_BYTES)
        watching = asyncio.create_task(self._silences.watch(WATCH_S))
        self._silences.connected()
        self.is_open = True
        _LOG.info("listening to %s", ", ".join(self._symbols))
        try:
            yield socket
        finally:
            self.is_open = False
            watching.cancel()
            await self._put(msgspec.json.encode({"e": "disconnect", "s": self._symbols}))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await socket.close()
