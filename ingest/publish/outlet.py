"""Where a live feed writes: the logs, with patience for a Redis that is away and for a worker that is behind.

A batch that could not be written whole is written again until it is: trades are told apart by their ids, and a book that comes twice
is a repeat. Meanwhile the feed is not read, so that nothing is taken which cannot be kept.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from random import random
from typing import Any

import redis

from ingest.messages.decode import encode
from ingest.messages.kinds import SocialPost
from ingest.publish.counts import Counts
from ingest.publish.publisher import Publisher
from ingest.recordings.lines import Output, Rejected
from ingest.settings import Settings
from ingest.streams.backlog import backlog
from ingest.streams.dead_letters import refuse

WAITING_MAX = 200_000
"""Entries that may wait in the logs; past it the feed waits."""
CHECK_EVERY = 10_000
LONGEST_S = 30.0
_NAME_MAX = 200
_LOG = logging.getLogger(__name__)


def pauses(first_s: float = 1.0) -> Iterator[float]:
    """How long to wait before each attempt: doubled up to 30 s, each between half and the whole, so that feeds do not return in step."""
    step = first_s
    while True:
        yield step * (0.5 + random() / 2)  # noqa: S311  # spreads attempts, keeps no secret
        step = min(2 * step, LONGEST_S)


class Outlet:
    """Writes what feeds give, and counts it.

    Parameters
    ----------
    client, settings:
        Of this deployment.
    prefix:
        Put before every symbol, so that two venues are two symbols.
    progress:
        Called with the counts after each batch.
    stop:
        Once set, a batch that cannot be written is given up.
    first_pause_s:
        Wait before the first new attempt.
    attempts:
        How often a batch is tried; None never gives up before ``stop``.
    """

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        *,
        prefix: str = "",
        progress: Callable[[Counts], None] | None = None,
        stop: threading.Event | None = None,
        first_pause_s: float = 1.0,
        attempts: int | None = None,
    ) -> None:
        self.counts = Counts()
        self.stop = stop or threading.Event()
        self._client = client
        self._settings = settings
        self._prefix = prefix
        self._progress = progress
        self._first_pause_s = first_pause_s
        self._attempts = attempts
        self._unchecked = 0

    def write(self, outputs: Sequence[Output]) -> None:
        """Publish messages and keep refused lines; returns when both are in Redis.

        Raises
        ------
        redis.RedisError
            Redis cannot be written to, and ``stop`` is set or the attempts are used up.
        """
        if self._prefix:
            self._rename(outputs)
        self._insist(lambda: self._send(outputs))
        for output in outputs:
            if isinstance(output, Rejected):
                self.counts.refused[output.reason] += 1
            else:
                self.counts.add(*output)
        self._unchecked += len(outputs)
        if self._unchecked >= CHECK_EVERY:
            self._unchecked = 0
            self._insist(self._wait_for_readers)
        if self._progress is not None:
            self._progress(self.counts)

    def _rename(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            if not isinstance(output, Rejected) and not isinstance(output.message, SocialPost):
                output.message.symbol = self._prefix + output.message.symbol

    def _send(self, outputs: Sequence[Output]) -> None:
        letters: Any = self._client.pipeline(transaction=False)
        with Publisher(self._client, self._settings.partitions) as publisher:
            for output in outputs:
                if isinstance(output, Rejected):
                    line, reason, detail = output
                    refuse(letters, line.source[:_NAME_MAX], {b"data": line.data}, reason, detail, str(line.number))
                elif isinstance(output.message, SocialPost):
                    publisher.publish_post(encode(output.message))
                else:
                    publisher.publish(output.kind, output.message)
        letters.execute()

    def _insist(self, act: Callable[[], None]) -> None:
        for attempt, pause in enumerate(pauses(self._first_pause_s), 1):
            try:
                act()
            except redis.RedisError as error:
                if self.stop.is_set() or attempt == self._attempts:
                    raise
                _LOG.warning("redis takes no messages (%s): again in %.1f s", type(error).__name__, pause)
                self.stop.wait(pause)
            else:
                return

    def _wait_for_readers(self) -> None:
        for pause in pauses(0.1):
            waiting = backlog(self._client, self._settings.partitions).events
            if waiting <= WAITING_MAX:
                return
            _LOG.warning("%d messages wait and no worker takes them: the feed waits", waiting)
            if self.stop.wait(pause):
                return
