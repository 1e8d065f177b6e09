"""Living through the loss of a server: a loop that is begun again until the server is back, in the same process.

A part's work is a function that builds all it knows from the servers and then loops. When a server goes away the function is left with
an exception, so nothing half done is kept, and it is called again after a pause that grows. Each trouble is logged once, and its end.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

_LOG = logging.getLogger(__name__)
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
ANSWER_S = 5.0
"""How long a command waits for an answer of Redis: a server that takes the connection and says nothing is away, too."""
STEADY_S = 1.0
"""Work that has gone on for so long is well again: one that fails at its first write each time is not."""

_PASSING = (
    redis.ConnectionError,  # also LOADING: a server that reads its data
    redis.TimeoutError,
    exceptions.ReadOnlyError,  # a master that was demoted, or a replica
    exceptions.OutOfMemoryError,
    exceptions.MasterDownError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    exceptions.NoPermissionError,  # a right that was revoked
)
_LASTING = (redis.AuthenticationError, exceptions.AuthorizationError)
_PASSING_REPLY = re.compile(r"(?:^|caused error: )(?:MISCONF|NOREPLICAS|BUSY) ")
"""Its disk is full, its replicas are away, a script of somebody's takes long; alone or of a command in a pipeline."""


def of_redis(error: Exception) -> bool:
    """Whether Redis may take the same again later: it is away, starting, full, demoted, or its disk is full."""
    if isinstance(error, _LASTING):
        return False
    return isinstance(error, _PASSING) or (
        isinstance(error, redis.ResponseError) and _PASSING_REPLY.search(str(error)) is not None
    )


def open_redis(url: str) -> redis.Redis:
    """A client for a command. It waits `ANSWER_S` at most, unless the address says otherwise, and sends nothing a second time by itself:
    what was lost on the way back may have been written.
    """
    return redis.Redis.from_url(
        url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S, retry=Retry(NoBackoff(), 0)
    )


def ride_out(
    who: str,
    work: Callable[[Callable[[], None]], None],
    stop: threading.Event,
    passing: Callable[[Exception], bool] = of_redis,
) -> None:
    """Call ``work`` until it returns, again and again while its failures are ``passing``, or until ``stop`` is set.

    Parameters
    ----------
    who:
        Whose work it is, for the log.
    work:
        Begins anew each time. It is given a function to call at every turn of its loop.
    stop:
        Ends the waiting; ``work`` looks at it itself.
    passing:
        Whether to try again after an exception; what it refuses is raised.
    """
    began = time.monotonic()
    lost: float | None = None
    failures = 0
    told: set[str] = set()

    def well() -> None:
        nonlocal lost, failures
        if lost is not None and time.monotonic() - began >= STEADY_S:
            _LOG.warning("%s works again after %.1f s", who, time.monotonic() - lost)
            lost, failures = None, 0
            told.clear()

    while True:
        began = time.monotonic()
        try:
            work(well)
            return
        except Exception as error:
            if not passing(error):
                raise
            lost = time.monotonic() if lost is None else lost
            trouble = type(error).__name__
            if trouble not in told:
                told.add(trouble)
                _LOG.error("%s cannot go on and tries again until it can: %s: %s", who, trouble, _first_line(error))
        pause = min(FIRST_PAUSE_S * 2.0**failures, LONGEST_PAUSE_S)
        failures = min(failures + 1, 10)
        if stop.wait(pause):
            return


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:200]
