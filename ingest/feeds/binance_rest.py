"""Requests to a venue of Binance's protocol: one weight limit for all of them, and the nearest deadline first.

A venue answers 429 to who asks too fast, and 418 to who goes on; both say in ``Retry-After`` for how many seconds nothing may be asked.
Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import math
import time
from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING

from ingest.feeds.binance_addresses import Allowance
from ingest.feeds.binance_venue import ANSWER_S, body_of

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

ANSWER_MAX_BYTES = 16 << 20
TOO_FAST = {429: 10.0, 418: 120.0}
"""Statuses after which nothing may be asked for a time, and how long where the venue does not say. A ban lasts two minutes at least."""
LONGEST_PAUSE_S = 259_200.0  # the longest ban that the venue gives, three days
_LOG = logging.getLogger(__name__)


class Rest:
    """Asks a venue.

    Parameters
    ----------
    http : aiohttp.ClientSession
    allowance : Allowance
        The weight that requests may have.
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, http: ClientSession, allowance: Allowance, clock: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._allowance = allowance
        self._clock = clock
        self._paused_until = -math.inf
        self._waiting: list[tuple[float, int, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._more = asyncio.Event()
        self._pacing: asyncio.Task[None] | None = None

    async def get(
        self,
        address: str,
        query: Mapping[str, str],
        weight: int,
        due_s: float = math.inf,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the body of an answer, asked for when it is this request's turn; of those that wait, that which is due first has it.

        Raise as ``body_of``, and `TimeoutError` after ``ANSWER_S`` from its turn on.
        """
        await self._turn(weight, due_s)
        async with asyncio.timeout(ANSWER_S), self._http.get(address, params=query, headers=headers) as response:
            if response.status in TOO_FAST:
                self._pause(response)
            return (await body_of(response, ANSWER_MAX_BYTES)).strip()

    async def close(self) -> None:
        """Give no more turns."""
        if self._pacing is not None:
            self._pacing.cancel()
            await asyncio.gather(self._pacing, return_exceptions=True)

    def _pause(self, response: ClientResponse) -> None:
        """Let all requests wait as long as the venue says."""
        told = response.headers.get("Retry-After", "")
        pause_s = float(told) if told.isascii() and told.isdigit() else TOO_FAST[response.status]
        pause_s = min(pause_s, LONGEST_PAUSE_S)
        self._paused_until = max(self._paused_until, self._clock() + pause_s)
        _LOG.warning("the venue answers HTTP %d: nothing is asked for %.0f s", response.status, pause_s)

    async def _turn(self, weight: int, due_s: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (due_s, next(self._numbers), weight, turn))
        self._more.set()
        if self._pacing is None or self._pacing.done():
            self._pacing = asyncio.create_task(self._pace())
        await turn

    async def _pace(self) -> None:
        """Give turns as long as requests wait."""
        while self._waiting:
            _, _, weight, turn = self._waiting[0]
            wait_s = max(self._paused_until - self._clock(), self._allowance.wait_s(weight))
            if turn.done():  # it was cancelled
                heapq.heappop(self._waiting)
            elif wait_s > 0.0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._more.wait()  # it may be due earlier
                self._more.clear()
            else:
                heapq.heappop(self._waiting)
                self._allowance.take(weight)
                turn.set_result(None)
