"""One websocket connection to a venue with Binance's protocol, and what its frames name."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ingest.messages.kinds import LIQUIDATION_CHANNEL

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

ASK_NS = 500_000_000  # a connection that gave nothing for so long is asked whether it lives
SHUTDOWN = b"!serverShutdown"
_KIND = {"depth": "book", "trade": "trade", "aggTrade": "trade", "forceOrder": LIQUIDATION_CHANNEL}
_STREAM = re.compile(rb'\{\s*"stream"\s*:\s*"([^"]*)"').match


def kind_of(channel: str) -> str:
    """Return what a channel gives: ``book``, ``trade``, ``liquidation``, or its own name.

    >>> kind_of("depth@100ms"), kind_of("aggTrade"), kind_of("forceOrder"), kind_of("markPrice@1s")
    ('book', 'trade', 'liquidation', 'markPrice')
    """
    name = channel.partition("@")[0]
    return _KIND.get(name, name)


def is_regular(channel: str) -> bool:
    """Return whether a channel speaks as long as it is carried; liquidations may be hours apart, so nobody expects a word of them."""
    return kind_of(channel) != LIQUIDATION_CHANNEL


def stream_of(frame: bytes) -> bytes:
    """Return the stream that a frame names, nothing if it has another form.

    >>> stream_of(b'{"stream":"btcusdt@trade","data":{}}'), stream_of(b'{"e":"trade"}')
    (b'btcusdt@trade', b'')
    >>> stream_of(b'{ "stream": "btcusdt@trade", "data": {} }')
    b'btcusdt@trade'
    """
    if frame.startswith(b'{"stream":"'):  # as the venue writes it
        return frame[11 : frame.find(b'"', 11)]
    return found[1] if (found := _STREAM(frame)) else b""


class Connection:
    """One open websocket.

    Attributes
    ----------
    is_whole : bool
        Whether every stream was heard on it.
    is_due : asyncio.Event
        Set once a successor should be opened.
    """

    def __init__(self, socket: ClientWebSocketResponse, names: Sequence[str], due_s: float) -> None:
        self.socket = socket
        self.due_s = due_s
        self.is_due = asyncio.Event()
        self.has_heard = False
        self.error: Exception | None = None
        self.reading: asyncio.Task[None]
        self._unheard = {name.encode() for name in names}
        self._heard_ns = (0, 0)  # when the last frame came, by the wall's clock and by one that is never set
        self._ping = b""  # what the last ping carried

    @property
    def is_whole(self) -> bool:
        """Whether every stream was heard."""
        return not self._unheard

    def note(self, name: bytes) -> None:
        """Note the stream of a frame."""
        self.has_heard = True
        self._heard_ns = time.time_ns(), time.monotonic_ns()
        if self._unheard:
            self._unheard.discard(name)
        if name == SHUTDOWN:
            self.is_due.set()

    async def ping(self) -> None:
        """Ask whether the venue is there, if frames came and none since `ASK_NS`.

        The ping carries when it is sent, by the wall's clock as it was at the last frame: a clock that is set meanwhile moves nothing.
        """
        heard_ns, steady_ns = self._heard_ns
        quiet_ns = time.monotonic_ns() - steady_ns
        if self.has_heard and quiet_ns >= ASK_NS:
            self._ping = b"%d" % ((heard_ns + quiet_ns) // 1_000_000)
            with contextlib.suppress(ConnectionError):
                await self.socket.ping(self._ping)

    def asked_at(self, answer: bytes) -> int | None:
        """Return when the ping of an answer was sent, in milliseconds; None where it answers no ping of ours."""
        return int(answer) if answer and answer == self._ping else None

    @property
    def why_ended(self) -> str:
        """What is known of its end."""
        return str(self.error or self.socket.exception() or f"code {self.socket.close_code}")
