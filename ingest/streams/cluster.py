"""A client of Redis Cluster with which the parts work as with one server.

redis-py keeps the map of slots and follows redirections. What is here instead of its own: commands go to the server of their key without
asking a server which word that is; a pipeline repeats nothing whose reply was lost, as that may have written; and several streams are read
together, of whatever servers.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.stores.online.client import Address
from ingest.streams import keys
from ingest.streams.pipeline import Command, Part, Pipeline

LOOK_S = 0.005  # between two looks at several streams: a command that waits is of one slot
SKEW_MS = 50
"""How far the clocks of two masters may differ before entries of the two are read as if they were equal."""
_LOST = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ClusterDownError)
_ELSEWHERE = (exceptions.AskError, exceptions.TryAgainError)  # also MovedError; nothing was done
_OF_STREAMS = ("XREAD", "XREADGROUP")
_OF_NO_KEY = ("TIME", "INFO")


class Cluster(redis.RedisCluster):
    """redis-py's client of a cluster, for commands as the parts send them to one server. It connects with its first command."""

    def __init__(self, address: Address, replicas: int = 0, **options: Any) -> None:
        self.replicas = replicas  # how many must have what is acknowledged (``streams.replicas``)
        self._how = address, options
        self._opening = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        """Open the client: an attribute that redis-py makes is missing."""
        with self._opening:
            if name in vars(self):  # another thread has opened it meanwhile
                return vars(self)[name]
            if "nodes_manager" in vars(self):
                raise AttributeError(name)
            address, options = self._how
            more = {
                key: value for key, value in (address.options | options).items() if key != "db"
            }  # a cluster has one
            nodes: Any = [redis.cluster.ClusterNode(*place) for place in address.nodes]  # type: ignore[no-untyped-call]
            with _as_redis_errors():
                super().__init__(startup_nodes=nodes, retry=Retry(NoBackoff(), 0), **more)
        return getattr(self, name)

    def close(self) -> None:
        """Close the connections, if there are any."""
        if "nodes_manager" in vars(self):
            super().close()

    def with_options(self, **options: Any) -> Cluster:
        """Return a client of the same cluster with other options."""
        address, before = self._how
        return Cluster(address, self.replicas, **{**before, **options})

    def determine_slot(self, *args: Any) -> int:
        """Return the slot of a command, by its first key; of one without a key that of the signs of life."""
        if args[0] in _OF_NO_KEY:
            key = keys.SIGNS_OF_LIFE
        elif args[0] in _OF_STREAMS:
            key = args[args.index(b"STREAMS") + 1]
        else:
            key = args[3 if args[0] == "EVAL" else 1]
        return int(self.keyslot(key))  # type: ignore[no-untyped-call]

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to the server of its key."""
        with _as_redis_errors():
            if args[0] in _OF_NO_KEY and "target_nodes" not in options:
                options["target_nodes"] = self._node(args)
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> Any:
        """Return a pipeline; in a transaction all keys must be of one slot."""
        return Pipeline(self.send_atomically if transaction else self.send)

    def xread(self, streams: Any, count: int | None = None, block: int | None = None) -> Any:
        """Read behind positions of streams of any servers; wait up to ``block`` ms for the first entry."""
        if len(streams) == 1:
            return super().xread(streams, count=count, block=block)
        deadline = time.monotonic() + (block or 0) / 1000
        while not (found := self._read(streams, count)) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        return found

    def _read(self, streams: Mapping[Any, Any], count: int | None) -> list[Any]:
        pipe = self.pipeline()
        for name, position in streams.items():
            pipe.xread({name: position}, count=count)
        return [of_stream for reply in pipe.execute() for of_stream in reply or ()]

    def settled_ms(self) -> int:
        """Return the time by the clocks of all masters up to which each has appended what it ever will, in ms.

        It is the earliest of their times, so an entry of this moment or later, of whichever master, may still lack an earlier one of
        another master. A master whose clock is more than ``SKEW_MS`` behind is not waited for.
        """
        pipe = self.pipeline()
        for node in self.primaries():
            pipe.execute_command("TIME", target_nodes=node)
        times = [seconds * 1000 + micros // 1000 for seconds, micros in pipe.execute()]
        return int(max(min(times), max(times) - SKEW_MS))

    def primaries(self) -> list[Any]:
        """Return the servers that take writes."""
        with _as_redis_errors():
            return list(self.get_primaries())  # type: ignore[no-untyped-call]

    def one_each(self, places: Iterable[int | str]) -> list[int | str]:
        """Return one place of each server that has some of them."""
        with _as_redis_errors():
            return list({self._node(("GET", keys.waited(place))).name: place for place in places}.values())

    def _node(self, args: Sequence[Any]) -> Any:
        return self.nodes_manager.get_node_from_slot(self.determine_slot(*args))

    def send(self, commands: Sequence[Command], wait: Command | None = None) -> list[Any]:
        """Send commands, those of each server together, and return their replies, or the errors that came instead.

        A command that another server must execute is sent there. One whose reply is lost is not sent again. A command ``wait`` is sent
        behind those of each server, and its replies come last; one that was sent elsewhere alone has none there.
        """
        by_node: dict[Any, list[int]] = {}
        with _as_redis_errors():
            for i, (args, options) in enumerate(commands):
                given = options.pop("target_nodes", None)
                [node] = self._parse_target_nodes(given) if given else [self._node(args)]  # type: ignore[no-untyped-call]
                by_node.setdefault(node, []).append(i)
            if wait is not None:
                for i, places in enumerate(by_node.values(), len(commands)):
                    places.append(i)
                commands = [*commands, *[wait] * len(by_node)]
            parts = [
                Part(self.get_redis_connection(node), [commands[i] for i in places]) for node, places in by_node.items()
            ]
        replies: list[Any] = [None] * len(commands)
        lost = []
        try:
            for part in parts:
                part.write()
            for part, (node, places) in zip(parts, by_node.items(), strict=True):
                for i, reply in zip(places, part.read(), strict=True):
                    replies[i] = reply
                if any(isinstance(replies[i], _LOST) for i in places):
                    lost.append(node)
        finally:
            for part in parts:
                part.release()
        if lost:
            self._look_again(*lost)
        for i, (args, options) in enumerate(commands):
            if isinstance(replies[i], _ELSEWHERE):
                try:
                    replies[i] = self.execute_command(*args, **options)
                except exceptions.RedisError as error:
                    replies[i] = error
                if wait is not None:
                    replies.append(None)
        return replies

    def send_atomically(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands of one slot as a transaction, and return their replies; raise an error that is the reply to one of them."""
        for is_last in (False, True):
            node = self._node(commands[0][0])
            pipe = self.get_redis_connection(node).pipeline(transaction=True)
            for args, options in commands:
                pipe.execute_command(*args, **options)  # type: ignore[no-untyped-call]
            try:
                return list(pipe.execute())
            except _ELSEWHERE:
                if is_last:
                    raise
                self._look_again()
            except _LOST:
                self._look_again(node)
                raise
        raise AssertionError  # not reached

    def _look_again(self, *lost: Any) -> None:
        """Ask the cluster which server has which slots, one that was ``lost`` last; keep what is known where none answers."""
        for node in lost:
            self.nodes_manager.move_node_to_end_of_cached_nodes(node.name)
        with contextlib.suppress(exceptions.RedisError, exceptions.RedisClusterException):
            self.nodes_manager.initialize()


@contextlib.contextmanager
def _as_redis_errors() -> Iterator[None]:
    """Raise what redis-py's client of a cluster raises as an error of Redis: what the last server has answered, if that is known."""
    try:
        yield
    except exceptions.RedisClusterException as error:
        if isinstance(error.__cause__, exceptions.RedisError):
            raise error.__cause__ from None
        raise exceptions.ConnectionError(str(error)) from error


def pools(client: Any) -> list[Any]:
    """Return the pools of connections of a client, one a server."""
    if not isinstance(client, Cluster):
        return [client.connection_pool]
    nodes: list[Any] = client.get_nodes() if "nodes_manager" in vars(client) else []  # type: ignore[no-untyped-call]
    return [node.redis_connection.connection_pool for node in nodes if node.redis_connection is not None]


def infos(client: Any, section: str) -> list[dict[str, Any]]:
    """Return what each server that takes writes says about itself."""
    if not isinstance(client, Cluster):
        return [client.info(section)]
    about: list[Any] = [client.info(section, target_nodes=node) for node in client.primaries()]
    return about
