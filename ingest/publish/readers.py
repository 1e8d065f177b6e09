"""Backpressure: a producer waits for those who read what it writes."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

import redis

from feature_repo.stores.errors import UserError
from ingest.streams.backlog import Backlog, backlog

WAITING_MAX = 200_000  # entries that may wait in the logs, some 100 MB; past it a producer waits
CHECK_EVERY = 10_000  # messages between two looks at how many wait
POLL_S = 0.02
TELL_S = 30.0  # between two lines of the log while a producer waits
_LOG = logging.getLogger(__name__)


class NotReadError(UserError, RuntimeError):
    """A stream is not read; the message says which part does not run and how to start it."""


class Readers:
    """The parts that read what a producer writes.

    Parameters
    ----------
    client : redis.Redis
    partitions : int
    patience_s : float
        How long a reader may make no progress; without one the producer waits until ``stop``.
    stop : threading.Event, optional
        Ends the waiting.
    """

    def __init__(
        self, client: redis.Redis, partitions: int, *, patience_s: float = math.inf, stop: threading.Event | None = None
    ) -> None:
        self._client = client
        self.partitions = partitions
        self._patience_s = patience_s
        self._stop = stop or threading.Event()
        self._unchecked = 0

    def is_check_due(self, n_messages: int) -> bool:
        """Count messages; return whether it is time for ``wait_for_workers``."""
        self._unchecked += n_messages
        if self._unchecked < CHECK_EVERY:
            return False
        self._unchecked = 0
        return True

    def is_crowded(self) -> bool:
        """Return whether more than ``WAITING_MAX`` entries wait in the logs."""
        return backlog(self._client, self.partitions).events > WAITING_MAX

    def wait_for_workers(self) -> None:
        """Wait until at most ``WAITING_MAX`` entries wait in the logs."""
        self._wait(lambda waiting: waiting.events, WAITING_MAX, "No worker reads the logs")

    def wait_for_scorer(self) -> None:
        """Wait until every post is scored and in the logs of its symbols."""
        self._wait(lambda waiting: waiting.posts, 0, "No scorer reads the posts")

    def _wait(self, count: Callable[[Backlog], int], most: int, trouble: str) -> None:
        fewest, deadline, told = math.inf, math.inf, -math.inf
        while (n := count(backlog(self._client, self.partitions))) > most:
            now = time.monotonic()
            if n < fewest:  # patience starts anew whenever the number falls
                fewest, deadline = n, now + self._patience_s
            elif now > deadline:
                raise NotReadError(f"{trouble}: {n} wait. Start it with `python -m ingest run`.")
            if self._patience_s == math.inf and now - told >= TELL_S:
                told = now
                _LOG.warning("%d messages wait and no worker takes them: the feed waits", n)
            if self._stop.wait(POLL_S):
                return
