"""The silent channels of all feeds, in Redis: a feed writes its own, and ``status`` and the metrics show them.

The hash ends `KEPT_S` after its last write. So the channels of a feed that was killed do not stay, unless another feed has some as well.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

import redis

from ingest.feeds.channels import Channel
from ingest.streams import keys

KEPT_S = 60
TELL_S = 10.0  # between two writes of the same channels
_LOG = logging.getLogger(__name__)


class SilentChannels:
    """Those of one feed.

    Parameters
    ----------
    client : redis.Redis
    prefix : str
        Of the feed's symbols.
    clock : callable
        The seconds that the times of a `Channel` are.
    now_ms : callable
        Milliseconds since the epoch.
    """

    def __init__(
        self,
        client: redis.Redis,
        prefix: str = "",
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._clock = clock
        self._now_ms = now_ms
        self._written: dict[str, int] = {}
        self._written_at = -TELL_S
        self._writing: asyncio.Task[None] | None = None

    def tell(self, silent: Iterable[Channel]) -> None:
        """Write in a thread which channels are silent now, if that changed or is due again; while one write lasts, begin no other."""
        now = self._clock()
        since = {
            f"{self._prefix}{channel.symbol} {channel.kind}": channel.silent_since
            for channel in silent
            if channel.silent_since is not None
        }
        changed = since.keys() != self._written.keys() or (since and now - self._written_at >= TELL_S)
        if changed and (self._writing is None or self._writing.done()):
            found = {name: self._now_ms() - round((now - at) * 1000) for name, at in since.items()}
            self._writing = asyncio.create_task(asyncio.to_thread(self.write, found))

    def write(self, found: dict[str, int]) -> None:
        """Replace what was written by ``found``, the time of the last word in milliseconds by symbol and channel."""
        gone = self._written.keys() - found.keys()
        try:
            with self._client.pipeline(transaction=False) as pipe:
                if gone:
                    pipe.hdel(keys.SILENT_CHANNELS, *gone)
                if found:
                    pipe.hset(keys.SILENT_CHANNELS, mapping=found)
                    pipe.expire(keys.SILENT_CHANNELS, KEPT_S)
                pipe.execute()
        except redis.RedisError as error:
            _LOG.debug("the silent channels are not told: %s", error)  # tried again at the next look
        else:
            self._written, self._written_at = found, self._clock()

    async def end(self) -> None:
        """Delete the channels of the feed, which ends."""
        if self._writing is not None:
            await asyncio.wait({self._writing})
        if self._written:
            await asyncio.to_thread(self.write, {})
