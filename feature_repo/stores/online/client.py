"""Addresses of Redis servers, and clients for them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import redis
from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from feature_repo.stores.endpoints import redis_url
from feature_repo.stores.nodes import CLUSTER, SENTINEL, SERVER, AddressError, nodes_of
from feature_repo.stores.online import sentinel

_TIMEOUTS_S: Final = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}
LOGINS: Final = ("username", "password", *sentinel.LOGIN)
_OPTIONS: Final = frozenset(
    name
    for of in (*redis.SSLConnection.__mro__, redis.UnixDomainSocketConnection, redis.ConnectionPool)
    for name in inspect.signature(of).parameters
) | {*LOGINS}
"""What may stand behind the question mark of an address: what redis-py's connections take."""
_SHOWN: Final = 40
_WORDS: Final = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Servers to connect to first, and the options of the connections; ``repr`` shows the servers only.

    Attributes
    ----------
    kind : str
        What the servers are, if the address says so; see `nodes_of`.
    master : str
        The name of the master, where they are sentinels.
    """

    nodes: tuple[tuple[str, int], ...]
    options: dict[str, Any]
    kind: str = SERVER
    master: str = ""

    @property
    def is_cluster(self) -> bool:
        """Whether it is that of a cluster."""
        return self.kind == CLUSTER

    def __repr__(self) -> str:
        return f"Address({self})"

    def __str__(self) -> str:
        return ",".join(f"{host}:{port}" for host, port in self.nodes) or str(self.options.get("path"))


def address_of(connection_string: str | None, url: str | None, logins: Mapping[str, str | None]) -> Address:
    """Return the address in Feast's form or as a URL, else that of the environment, with the logins that are given."""
    if connection_string is not None:
        address = address_of_connection_string(connection_string)
    else:
        address = address_of_url(redis_url() if url is None else url)
    return replace(address, options=address.options | {k: v for k, v in logins.items() if v is not None})


def address_of_url(url: str) -> Address:
    """Return the address in ``redis://user:password@host:port/db?option=value``, ``rediss://``, ``unix://``, or in a form of `nodes_of`.

    Raise `AddressError` for an option that redis-py does not know, or whose value is none of its own.

    >>> address_of_url("redis+cluster://a:1,b:2").nodes
    (('a', 1), ('b', 2))
    >>> address_of_url("rediss://desk:p%40s%2Cs@db.example:6380/2").options["password"]
    'p@s,s'
    """
    kind, urls, master = nodes_of(url)
    if kind != SERVER:
        each = [address_of_url(one) for one in urls]
        return Address(sum((one.nodes for one in each), ()), each[0].options, kind, master)
    try:
        options = dict(parse_url(url))  # type: ignore[no-untyped-call]
    except ValueError as error:  # redis-py's words, which repeat no value
        raise AddressError(f"the address of Redis is wrong: {error}") from None
    if unknown := sorted(options.keys() - _OPTIONS):
        raise AddressError(f"the address of Redis has an unknown option: {unknown[0][:_SHOWN]!r}")
    secure = options.pop("connection_class", None)
    if "path" in options:
        return Address((), options)
    host, port = options.pop("host", "localhost"), options.pop("port", 6379)
    if secure is not None:
        options["ssl"] = True
    return Address(((host, port),), options)


def address_of_connection_string(text: str) -> Address:
    """Return the address in Feast's form ``host:port,host:port,option=value``.

    Unlike in Feast, a password stays text where it looks like a number or a JSON word, and a host may be an IPv6 address.
    Raise `AddressError` for another form. Its message does not repeat the part that is wrong: it may be a secret.

    >>> address_of_connection_string("db.example:6379,db=2,password=0123").options
    {'db': 2, 'password': '0123'}
    """
    nodes: list[tuple[str, int]] = []
    options: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = part.partition("=")
        if equals:
            options[name] = value if name in LOGINS else _literal(value)
            continue
        host, colon, port = part.rpartition(":")
        if not colon or not port.isdigit():
            raise AddressError(
                "connection_string must read host:port,option=value. Put a password that contains a comma into"
                " `password` or, percent-encoded, into `url`."
            )
        nodes.append((host.strip("[]"), int(port)))
    return Address(tuple(nodes), options)


def _literal(value: str) -> Any:
    if value.lower() in _WORDS:
        return _WORDS[value.lower()]
    for number in (int, float):
        with suppress(ValueError):
            return number(value)
    return value


def connect(address: Address, kind: str, sentinel_master: str = "mymaster", *, on_loop: bool = False) -> Any:
    """Return a client; `on_loop` makes it one for the running event loop.

    `kind` is ``redis``, ``redis_cluster`` or ``redis_sentinel``, and counts with `sentinel_master` where the address is that of one server.
    """
    module: Any = redis_asyncio if on_loop else redis
    options = _TIMEOUTS_S | address.options
    if address.kind != SERVER:
        kind = address.kind
    if kind == CLUSTER:
        options.pop("db", None)  # a cluster has one database
        nodes = [module.cluster.ClusterNode(host, port) for host, port in address.nodes]
        return module.RedisCluster(startup_nodes=nodes, **options)
    # The callers repeat (`attempt`): nested retries would multiply.
    options["retry"] = (AsyncRetry if on_loop else Retry)(NoBackoff(), 0)
    if kind == SENTINEL:
        of = redis_asyncio.Redis if on_loop else redis.Redis
        return sentinel.client_of_master(address.nodes, address.master or sentinel_master, options, of)
    if "path" in options:
        return module.Redis(unix_socket_path=options.pop("path"), **options)
    host, port = address.nodes[0]
    return module.Redis(host=host, port=port, **options)


def with_sentinels(client: Any) -> list[Any]:
    """Return the client and its clients of the sentinels, which it does not close itself."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [client, *(manager.sentinels if manager is not None else ())]


def is_cluster(client: Any) -> bool:
    """Return whether a client speaks to Redis Cluster, where one script may touch the keys of one slot only."""
    return isinstance(client, redis.RedisCluster | redis_asyncio.RedisCluster)
