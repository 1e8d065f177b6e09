"""Replies that a process keeps while the server has not said that their keys changed.

One connection of its own reads, with the server's tracking on (RESP3): the server then sends the name of a key that was
read there once it changes or expires. It sends it in the order of its replies, so a kept reply is as new as the last
message that was taken from the connection. Before a kept reply is given out, all messages that have arrived are taken; if
the server was not heard for `CONFIRM_S`, it is asked about a kept key first. When the connection is lost, so is all that
was kept.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import WeakSet

import redis

from feature_repo.stores.online.request import Ask, commands
from feature_repo.stores.online.sentinel import MasterPool
from feature_repo.stores.online.shape import Reply

CONFIRM_S: Final = 1.0
"""A connection that died without a word is found after this time; until then the kept replies are given out."""

_TRACK: Final = ("CLIENT", "TRACKING", "ON")


class ReplyCache:
    """Reads through one connection, and keeps the replies.

    Parameters
    ----------
    client : redis.Redis
        A client of a single server or of a Sentinel master; the connection is made as its own are.
    most : int
        How many replies to keep, one per entity and list of features; those that were not asked for longest are forgotten.
    steady : callable
        Seconds of a clock that is never set.

    Attributes
    ----------
    most : int
        May be changed; it counts from the next reply on.
    """

    def __init__(self, client: Any, most: int, steady: Callable[[], float] = time.monotonic) -> None:
        self._pool, self.most, self._steady = client.connection_pool, most, steady
        self.begin()
        _of_this_process.add(self)

    def begin(self) -> None:
        """Begin without a connection and with nothing kept.

        A forked process does this: the connection is its parent's, and another thread of the parent may have held the lock.
        """
        self._lock = threading.Lock()
        self._connection: Any = None
        self._heard = 0.0
        self._kept: dict[bytes, dict[bytes, Reply]] = {}  # by key and list of fields, the last one used at the end
        self._n_kept = 0

    def __len__(self) -> int:
        return self._n_kept

    def kept(self, asks: Sequence[Ask]) -> list[Reply] | None:
        """Return the replies if all of them are kept, else None. This waits for no one."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if not self._is_confirmed():
                return None
            self._take_messages()
            return self._all(asks)
        except redis.RedisError:
            self._drop()
            return None
        finally:
            self._lock.release()

    def fetch(self, asks: Sequence[Ask]) -> list[Reply]:
        """Return one reply per key, in the order of `asks`; those that are not kept are read in one round trip."""
        with self._lock:
            try:
                self._listen()
                found = {(key, fields.wire): self._use(key, fields.wire) for keys, fields in asks for key in keys}
                missing = [([key for key in keys if found[key, fields.wire] is None], fields) for keys, fields in asks]
                if pieces := commands(missing):
                    sent = self._steady()
                    self._connection.send_packed_command(pieces)
                    for keys, fields in missing:
                        for key in keys:
                            # Kept before the next message is taken, which may be that the key has changed.
                            found[key, fields.wire] = self._keep(key, fields.wire, self._read())
                    self._heard = sent
            except BaseException:
                self._drop()  # replies may still be on their way
                raise
            return [found[key, fields.wire] for keys, fields in asks for key in keys]  # type: ignore[misc]

    def close(self) -> None:
        """Close the connection, and forget everything."""
        with self._lock:
            self._drop()

    def _all(self, asks: Sequence[Ask]) -> list[Reply] | None:
        replies = []
        for keys, fields in asks:
            for key in keys:
                reply = self._use(key, fields.wire)
                if reply is None:
                    return None
                replies.append(reply)
        return replies

    def _listen(self) -> None:
        """Take what the server has said, over a new connection if the old one is dead: this sends again nothing that a caller asked."""
        if self._connection is not None:
            try:
                if self._kept and not self._is_confirmed():
                    self._confirm()
                self._take_messages()
                return
            except redis.ConnectionError:  # the server closes an idle connection, and one of before its restart is dead
                pass
        self._connect()

    def _is_confirmed(self) -> bool:
        """Return whether the server was heard lately."""
        return self._connection is not None and self._steady() - self._heard < CONFIRM_S

    def _connect(self) -> None:
        self._drop()
        kwargs = dict(self._pool.connection_kwargs, protocol=3)
        self._connection = self._pool.connection_class(**kwargs)
        self._connection.connect()
        self._connection._parser.set_invalidation_push_handler(self._forget)
        self._heard = self._steady()
        self._connection.send_command(*_TRACK)
        self._read()

    def _confirm(self) -> None:
        """Ask about a kept key. A cluster's node that lost its slots or the others refuses this; it would answer ``PING``."""
        sent = self._steady()
        if isinstance(self._pool, MasterPool):
            self._pool.look()
            if self._pool.master_address != (self._connection.host, self._connection.port):
                raise redis.ConnectionError("the sentinels have another master")
        self._connection.send_command("HGET", next(iter(self._kept)), "_")
        self._read()  # also takes every message before the answer
        self._heard = sent

    def _take_messages(self) -> None:
        while self._connection.can_read(0):
            self._connection.read_response(disable_decoding=True, push_request=True)

    def _read(self) -> Any:
        return self._connection.read_response(disable_decoding=True)

    def _use(self, key: bytes, wire: bytes) -> Reply | None:
        of_key = self._kept.get(key)
        if of_key is None:
            return None
        self._kept[key] = self._kept.pop(key)
        return of_key.get(wire)

    def _keep(self, key: bytes, wire: bytes, reply: Reply) -> Reply:
        of_key = self._kept.setdefault(key, {})
        self._n_kept += wire not in of_key
        of_key[wire] = reply
        while self._n_kept > self.most:
            self._n_kept -= len(self._kept.pop(next(iter(self._kept))))
        return reply

    def _forget(self, message: Sequence[Any]) -> None:
        """Forget what the server names; None names everything."""
        if message[1] is None:
            self._kept.clear()
            self._n_kept = 0
            return
        for key in message[1]:
            self._n_kept -= len(self._kept.pop(key, ()))

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._kept.clear()
        self._n_kept = 0
        if connection is not None:
            connection.disconnect()


_of_this_process: WeakSet[ReplyCache] = WeakSet()


def _begin_all() -> None:
    for cache in _of_this_process:
        cache.begin()


os.register_at_fork(after_in_child=_begin_all)
