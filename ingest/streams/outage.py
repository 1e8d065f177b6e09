"""Living through the loss of a server: a part's work is started again, in the same process, until the server is back.

A part's work is a function that builds everything it knows from the servers and then loops. When a server goes away, an exception ends the
function, so nothing half done is kept. It is called again after a pause that grows. Each kind of error is logged once, and so is the end
of the outage.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.stores.online.attempt import LOGIN_REFUSED, PASSING
from feature_repo.stores.online.client import address_of_url
from feature_repo.stores.online.sentinel import client_of_master
from ingest.streams.cluster import Cluster, pools
from ingest.streams.replicas import Client

_LOG = logging.getLogger(__name__)
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
ANSWER_S = 5.0
"""How long a command waits for a reply of Redis: a server that accepts the connection and does not reply is away, too."""
WRITTEN_S = ANSWER_S + LONGEST_PAUSE_S + 2.0
"""When Redis is back for so long, every part has written what it kept meanwhile. Its last attempt before may have waited for ``ANSWER_S``,
its pause is at most ``LONGEST_PAUSE_S``, and it writes what it keeps in less than two seconds."""
STEADY_S = 1.0
"""How long work must go on until the outage is over: work that fails at its first write each time is not well."""
LINE_MAX = 200

_PASSING_LATER = (
    exceptions.OutOfMemoryError,  # full until a worker makes room
    exceptions.NoPermissionError,  # a right that was revoked and may be granted again
)
"""Errors that a part waits out, though a caller with few attempts does not repeat them."""
_PASSING_REPLY = re.compile(
    r"(?:^|caused error: )(?:(?:MISCONF|NOREPLICAS|BUSY|NOGROUP|UNBLOCKED|PARTITIONS) |no such key$)"
)
"""The disk of the server is full, its replicas are away, a script takes long, a failover has lost a stream or its group of readers, which
each part makes when it begins, or ended a wait for an entry, or the number of partitions is being raised; alone or of a command in a
pipeline."""


def is_passing(error: Exception) -> bool:
    """Return whether Redis may accept the same call later: it is away, starting, full, demoted, or its disk is full."""
    if isinstance(error, LOGIN_REFUSED):
        return False
    return isinstance(error, (*PASSING, *_PASSING_LATER)) or (
        isinstance(error, redis.ResponseError) and _PASSING_REPLY.search(str(error)) is not None
    )


def open_redis(url: str, replicas: int = 0) -> redis.Redis:
    """Return a client for a command, which waits ``ANSWER_S`` for a reply unless the address says otherwise.

    It repeats nothing: a command whose reply was lost may have written. What it acknowledges, so many ``replicas`` have.
    """
    patience: dict[str, Any] = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S}
    address = address_of_url(url)
    if address.is_cluster:
        return Cluster(address, replicas, **(patience | address.options))  # type: ignore[return-value]  # it has the commands of a client of one server
    patience["retry"] = Retry(NoBackoff(), 0)
    client: Client
    if address.master:
        client = client_of_master(address.nodes, address.master, patience | address.options, Client)
    else:
        client = Client.from_url(url, **patience)  # type: ignore[assignment]
    client.replicas = replicas
    return client


def end_waits(client: redis.Redis) -> None:
    """Let every thread that waits for a reply of Redis get an error now. For the end of a process: the connections are of no use then."""
    for pool in pools(client):
        for connection in list(pool._in_use_connections):
            with contextlib.suppress(OSError, AttributeError):  # it is closed already
                connection._sock.shutdown(socket.SHUT_RDWR)


def ride_out(
    who: str,
    work: Callable[[Callable[[], None]], None],
    stop: threading.Event,
    passing: Callable[[Exception], bool] = is_passing,
) -> None:
    """Call ``work`` until it returns or ``stop`` is set; call it again after each error that is ``passing``.

    Parameters
    ----------
    who : str
        The part, for the log.
    work : callable
        Starts anew at each call. Its argument is a function that it calls at every turn of its loop.
    stop : threading.Event
        Ends the pauses; ``work`` looks at it itself.
    passing : callable
        Whether to call again after an exception; every other exception is raised.
    """
    began = time.monotonic()
    lost: float | None = None
    failures = 0
    logged: set[str] = set()

    def well() -> None:
        nonlocal lost, failures
        if lost is not None and time.monotonic() - began >= STEADY_S:
            _LOG.warning("%s works again after %.1f s", who, time.monotonic() - lost)
            lost, failures = None, 0
            logged.clear()

    while True:
        began = time.monotonic()
        try:
            work(well)
            return
        except Exception as error:
            if not passing(error):
                raise
            lost = time.monotonic() if lost is None else lost
            kind = type(error).__name__
            if kind not in logged:
                logged.add(kind)
                line = str(error).partition("\n")[0][:LINE_MAX]
                _LOG.error("%s cannot go on and tries again until it can: %s: %s", who, kind, line)
        pause = min(FIRST_PAUSE_S * 2.0**failures, LONGEST_PAUSE_S)
        failures = min(failures + 1, 10)
        if stop.wait(pause):
            return
