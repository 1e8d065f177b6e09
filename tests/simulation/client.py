"""redis-py's client and pipeline, whose commands go through the network of the simulation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from tests.simulation.network import Network, Words
from tests.simulation.scripts import script_bytes


class Client(redis.Redis):
    """redis-py's client, whose commands go through the network of the simulation; it is made once a process."""

    def __init__(self, network: Network, *, is_cluster: bool = False) -> None:
        self._network = network
        self.is_cluster = is_cluster
        self.connection_pool = _POOL
        self.connection = None
        self.auto_close_connection_pool = False
        self.response_callbacks = _CALLBACKS

    def __del__(self) -> None:
        """Close nothing."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        [reply] = self._network.call([_words(args)], False)
        return _parsed(reply, args, options)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        return Batch(self._network, transaction)


class Batch(Pipeline):
    """redis-py's pipeline through the network of the simulation."""

    def __init__(self, network: Network, transaction: bool) -> None:
        super().__init__(_POOL, _CALLBACKS, transaction, None)
        self._network = network

    def __del__(self) -> None:
        """Close nothing."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.command_stack.append((args, options))
        return self

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        stack, self.command_stack = self.command_stack, []
        if not stack:
            return []
        replies = self._network.call([_words(args) for args, _ in stack], self.transaction)
        found = []
        for (args, options), reply in zip(stack, replies, strict=True):
            try:
                found.append(_parsed(reply, args, options))
            except RedisError as error:
                if raise_on_error:
                    raise
                found.append(error)
        return found


def _words(args: Sequence[Any]) -> Words:
    words = [w if (kind := type(w)) is bytes else w.encode() if kind is str else _other_word(w) for w in args]
    if words[0] == b"EVAL":
        words[1] = script_bytes(args[1])
    elif b" " in words[0]:
        words[:1] = words[0].split()
    return words


def _other_word(word: Any) -> bytes:
    return word.encode() if isinstance(word, str) else b"%d" % word


def _parsed(reply: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
    if isinstance(reply, RedisError):
        raise reply
    callback = _CALLBACKS.get(args[0])
    if callback is None:
        return reply
    options.pop("keys", None)
    return callback(reply, **options)


_REAL = redis.Redis()
_POOL, _CALLBACKS = _REAL.connection_pool, dict(_REAL.response_callbacks)
