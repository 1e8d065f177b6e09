"""The way from the event loop of a feed to the outlet: a bounded queue, and a thread that parses and writes batch by batch.

The loop only reads. While one batch is written the next one gathers, so batches are as large as they need to be. A full queue stops the
reading: backpressure reaches the venue. While nothing comes, the outlet looks whether Redis still has what was written.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from ingest.publish.outlet import Outlet
from ingest.recordings.lines import Output

BATCH = 200
QUEUED_MAX = 20_000
LOOK_S = 1.0
T = TypeVar("T")


class Pump(Generic[T]):
    """The one consumer of what a feed reads.

    Parameters
    ----------
    parse : callable
        Makes messages and refusals of items. It runs in a thread, once at a time, in the order of the items.
    outlet : Outlet
    after : callable, optional
        Awaited with the items of each batch after the batch is written.
    """

    def __init__(
        self,
        parse: Callable[[Sequence[T]], Sequence[Output]],
        outlet: Outlet,
        after: Callable[[Sequence[T]], Awaitable[None]] | None = None,
    ) -> None:
        self._queue: asyncio.Queue[T | None] = asyncio.Queue(QUEUED_MAX)
        self._parse = parse
        self._outlet = outlet
        self._after = after
        self._ended = False

    async def put(self, item: T) -> None:
        """Add an item; wait while the queue is full. After ``run`` has ended, drop it."""
        if not self._ended:
            await self._queue.put(item)

    async def close(self) -> None:
        """End ``run`` after all items so far are written."""
        if not self._ended:
            await self._queue.put(None)

    async def run(self) -> None:
        """Write until closed."""
        try:
            while not self._ended:
                batch = await self._first()
                if not batch:
                    await asyncio.to_thread(self._outlet.look)
                    continue
                while len(batch) < BATCH and not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                items = [item for item in batch if item is not None]
                await asyncio.to_thread(self._write, items)
                if self._after is not None:
                    await self._after(items)
                self._ended = len(items) < len(batch)
        finally:
            self._ended = True
            while not self._queue.empty():
                self._queue.get_nowait()  # makes room for a waiting put

    async def _first(self) -> list[T | None]:
        """Return the next item, none if nothing comes for `LOOK_S`."""
        if self._queue.empty():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    return [await self._queue.get()]
            return []
        return [self._queue.get_nowait()]

    def _write(self, items: Sequence[T]) -> None:
        self._outlet.write(self._parse(items))
