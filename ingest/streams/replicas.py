"""Waiting until replicas have what was written, before it counts as done (``TFS_REDIS_REPLICAS``).

Redis answers before its replicas have a write, so a failover may lose what was acknowledged. With a number n of replicas, what this project
acknowledges waits until n of them have the write: ``WAIT`` on the connection that wrote. A server waits for what a connection has written
last, and a batch that is sent again writes nothing where it is already. So a key is written before each wait (``keys.waited``): replicas
that have it have everything before it, whoever wrote that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import redis

from feature_repo.stores.online.client import with_sentinels
from ingest.streams import keys
from ingest.streams.pipeline import Pipeline

WAIT_MS = 1000


class NotReplicatedError(redis.TimeoutError):
    """A write was made, and too few replicas had it in time. It is to be sent again, like one without an answer."""


class Client(redis.Redis):
    """A client of one server, or of the master that sentinels name."""

    replicas = 0
    """How many replicas must have what is acknowledged."""

    def close(self) -> None:
        """Close the connections, also those to sentinels."""
        super().close()
        for sentinel in with_sentinels(self)[1:]:
            sentinel.close()


def number(client: Any) -> int:
    """Return how many replicas must have what is acknowledged through a client."""
    return int(getattr(client, "replicas", 0))


def execute(client: Any, pipe: Any, places: Iterable[int | str] = (), *, raise_on_error: bool = True) -> list[Any]:
    """Send a pipeline of a client, and return the replies once replicas have what it wrote.

    Parameters
    ----------
    places : iterable of int or str
        Where the pipeline writes, unless it is sure that each of its commands changes something.
    raise_on_error : bool
        As redis-py has it.

    Raises
    ------
    NotReplicatedError
        Too few replicas have it after ``WAIT_MS``. That does not undo it.
    """
    n = number(client)
    had = len(pipe)
    if not n or not had:
        return list(pipe.execute(raise_on_error=raise_on_error))
    for place in dict.fromkeys(places):
        pipe.set(keys.waited(place), 1)
    sent = len(pipe)
    if isinstance(pipe, Pipeline):
        found = pipe.execute(raise_on_error, "WAIT", n, WAIT_MS)
    else:
        pipe.execute_command("WAIT", n, WAIT_MS)
        found = pipe.execute(raise_on_error=raise_on_error)
    if not all(isinstance(count, int) and count >= n for count in found[sent:]):
        raise NotReplicatedError(
            f"fewer than TFS_REDIS_REPLICAS={n} replicas of Redis have what was written {WAIT_MS} ms ago"
        )
    return list(found[:had])


def confirm(client: Any, places: Iterable[int | str]) -> None:
    """Return once replicas have everything that places have now; raise as ``execute`` does."""
    if number(client):
        pipe = client.pipeline(transaction=False)
        for place in dict.fromkeys(places):
            pipe.set(keys.waited(place), 1)
        execute(client, pipe)


def are_well(client: Any, places: Iterable[int | str]) -> bool:
    """Return whether the server of each place answers, and where replicas are waited for, whether they have what it has."""
    pipe = client.pipeline(transaction=False)
    places = list(places)
    for place in places:
        pipe.exists(keys.waited(place))
    try:
        execute(client, pipe, places)
    except redis.RedisError:
        return False
    return True
