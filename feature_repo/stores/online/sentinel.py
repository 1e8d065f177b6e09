"""Clients of the master that sentinels name: redis-py's, which also leave a master that was replaced and still answers.

redis-py asks the sentinels when it connects. It takes a new master when all replicas follow that one; here it is taken once it is the
master, as Redis asks of clients. A master that another one has replaced keeps its connections, though, until the sentinels
make it a replica: ten seconds after ``SENTINEL FAILOVER``, and for as long as it is cut off from them. What it takes meanwhile is lost. So
the sentinels are asked every second (`ASK_S`). Where they name another master, a command fails with ``ConnectionError``, as it would have
failed if the old one had died: what a part knows from the old one does not count on the new one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis.sentinel
from redis import asyncio as redis_asyncio
from redis import exceptions
from redis.asyncio import sentinel as async_sentinel

from feature_repo.stores.nodes import AddressError
from feature_repo.stores.online.attempt import LOGIN_REFUSED

LOGIN: Final = ("sentinel_username", "sentinel_password")
ASK_S: Final = 1.0
ANSWER_S: Final = 0.5
"""How long one sentinel is waited for. A worker asks between two renewals of its leases."""
SHARE: Final = 0.1
"""Of the time at most goes into asking, also where sentinels do not answer."""
_AWAY: Final = (exceptions.ConnectionError, exceptions.TimeoutError)  # of the sentinels: the master may be well

Place = tuple[str, int]


def client_of_master(nodes: Sequence[Place], name: str, options: Mapping[str, Any], of: type[Any] = redis.Redis) -> Any:
    """Return a client of the class ``of`` for the master that the sentinels at ``nodes`` know by ``name``.

    Parameters
    ----------
    options : mapping
        Of the connections to the master. Those of TLS and of sockets are those to the sentinels, too; ``sentinel_username`` and
        ``sentinel_password`` are the login there.
    """
    of_master = {key: value for key, value in options.items() if key not in LOGIN}
    shared = {key: value for key, value in of_master.items() if key.startswith(("ssl", "socket_")) or key == "retry"}
    login = {key.removeprefix("sentinel_"): options[key] for key in LOGIN if key in options}
    patience = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S}
    on_loop = issubclass(of, redis_asyncio.Redis)
    sentinels: Any = (_AsyncSentinels if on_loop else _Sentinels)(
        list(nodes), sentinel_kwargs=shared | login | patience, **of_master
    )
    pool = AsyncMasterPool if on_loop else MasterPool
    return sentinels.master_for(name, redis_class=of, connection_pool_class=pool)


class _Watch:
    """When a pool asks the sentinels again, and which master its last connection was to."""

    def __init__(self) -> None:
        self._due = time.monotonic() + ASK_S
        self._place: Place | None = None

    def begin(self) -> float | None:
        """Return the time if the sentinels are to be asked now."""
        now = time.monotonic()
        if now < self._due:
            return None
        self._due = now + ASK_S
        return now

    def end(self, began: float) -> None:
        """Note that they were asked, since ``began``."""
        now = time.monotonic()
        self._due = now + max(ASK_S, (now - began) / SHARE)

    def is_other(self, connection: Any) -> bool:
        """Return whether a connection is to another master than the one before."""
        before, self._place = self._place, (connection.host, connection.port)
        return before not in (None, self._place)


def _replaced(connection: Any) -> exceptions.ConnectionError:
    return exceptions.ConnectionError(f"the sentinels have made {connection.host}:{connection.port} the master")


class MasterPool(redis.sentinel.SentinelConnectionPool):
    """Connections to the master of the moment."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        self._watch = _Watch()

    def look(self) -> None:
        """Ask the sentinels, if that is due; where they name another master, close idle connections to the old one."""
        if (began := self._watch.begin()) is not None:
            with contextlib.suppress(*_AWAY):
                self.get_master_address()  # type: ignore[no-untyped-call]
            self._watch.end(began)

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection; raise ``ConnectionError`` once where it is to another master than the one before."""
        self.look()
        connection = super().get_connection(*args, **options)
        if self._watch.is_other(connection):
            self.release(connection)
            raise _replaced(connection)
        return connection


class AsyncMasterPool(async_sentinel.SentinelConnectionPool):
    """The same for an event loop."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        self._watch = _Watch()

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection, or raise, as in `MasterPool`."""
        if (began := self._watch.begin()) is not None:
            with contextlib.suppress(*_AWAY):
                await self.get_master_address()  # type: ignore[no-untyped-call]
            self._watch.end(began)
        connection = await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]
        if self._watch.is_other(connection):
            await self.release(connection)
            raise _replaced(connection)
        return connection


class _Search:
    """The search for a master: what each sentinel has said. redis-py's own error may show a password."""

    def __init__(self, manager: Any, name: str) -> None:
        self._manager, self._name = manager, name
        self._said: dict[str, str] = {}
        self._errors: list[Exception] = []

    def find(self, sentinel: Any, named: tuple[bytes, int] | None, masters: Mapping[str, Any]) -> Place | None:
        """Return the place of the master by the replies of a sentinel, and ask that one first from now on.

        ``named`` is a new master as soon as it is one. ``masters``, which alone says who is down, has the old one until replicas follow.
        """
        state = masters.get(self._name)
        if named is None or state is None:
            self._note(sentinel, f"it watches {', '.join(masters) or 'none'}")
            return None
        place = named[0].decode(), named[1]
        if place == (state["ip"], state["port"]) and not self._manager.check_master_state(state, self._name):
            self._note(sentinel, "it is down")
            return None
        self._manager.sentinels.remove(sentinel)
        self._manager.sentinels.insert(0, sentinel)
        return place

    def fail(self, sentinel: Any, error: Exception) -> None:
        """Note that a sentinel gave an error."""
        self._errors.append(error)
        self._note(sentinel, f"{type(error).__name__}: {error}")

    def _note(self, sentinel: Any, text: str) -> None:
        about = sentinel.connection_pool.connection_kwargs
        self._said[f"{about['host']}:{about['port']}"] = text

    def error(self) -> Exception:
        """Return the error that no master was found."""
        if len(self._errors) == len(self._said):
            if all(isinstance(error, LOGIN_REFUSED) for error in self._errors):
                return self._errors[0]
            if all("unknown command" in str(error) for error in self._errors):
                return AddressError(
                    f"{', '.join(self._said)} is no sentinel: name sentinels, or a server as redis://host:6379/0"
                )
        told = "; ".join(f"{place}: {text}" for place, text in self._said.items())
        return redis.sentinel.MasterNotFoundError(f"no sentinel names a master {self._name!r} that is well ({told})")


class _Sentinels(redis.sentinel.Sentinel):
    def discover_master(self, service_name: str) -> Place:
        search = _Search(self, service_name)
        for sentinel in list(self.sentinels):
            try:
                named = sentinel.sentinel_get_master_addr_by_name(service_name)  # type: ignore[no-untyped-call]
                found = search.find(sentinel, named, sentinel.sentinel_masters())  # type: ignore[no-untyped-call]
            except exceptions.RedisError as error:
                search.fail(sentinel, error)
            else:
                if found is not None:
                    return found
        raise search.error()


class _AsyncSentinels(async_sentinel.Sentinel):
    async def discover_master(self, service_name: str) -> Place:
        search = _Search(self, service_name)
        for sentinel in list(self.sentinels):
            try:
                named = await sentinel.sentinel_get_master_addr_by_name(service_name)  # type: ignore[no-untyped-call]
                found = search.find(sentinel, named, await sentinel.sentinel_masters())  # type: ignore[no-untyped-call]
            except exceptions.RedisError as error:
                search.fail(sentinel, error)
            else:
                if found is not None:
                    return found
        raise search.error()
