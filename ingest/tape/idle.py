"""The states of idle symbols at the tape: the role ``tape`` brings them there from Redis, and a worker reads one when its symbol is heard.

A worker commits the state of a symbol that leaves its memory to the hash ``idle:{p}``, with everything else of the commit. This role
writes it as an object beside the tape, named by hashes of the symbol and of the state. Only then a script takes it out of Redis, if it
is still the value that was written (``give_idle.lua``). So a state is always in one of the two places, an object is never written over
by another state, and it does not matter who moves it, when it dies, and how old the Redis is that came back.

An object to which no value refers is deleted a day after this was first seen: until then an older Redis may come back and refer to it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import redis

from feature_repo.stores.scripts import read_script
from ingest.settings import Settings
from ingest.streams import idle_state, keys
from ingest.streams.idle_state import IdleState
from ingest.tape.store import Store

_LOG = logging.getLogger(__name__)
FOLDER = "_idle"
KEPT_S = 86_400.0
LOOK_S, SWEEP_S = 10.0, 3600.0  # between two looks for states in Redis, and for objects that nobody needs
PAGE = 200  # values read at once
_GIVE = read_script(__file__, "give_idle.lua")


class IdleStates:
    """Moves the states of idle symbols from Redis to the tape, and deletes those that nobody needs.

    Parameters
    ----------
    client : redis.Redis
    settings : Settings
    steady : callable
        Gives seconds of a clock that is never set.
    """

    def __init__(self, client: redis.Redis, settings: Settings, steady: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._store = Store(settings.tape, FOLDER)
        self._partitions = settings.partitions
        self._steady = steady
        self._unused_since: dict[str, float] = {}
        self._looked = self._swept = -math.inf
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Begin to move what is in Redis, in a thread of its own, if the last look is `LOOK_S` ago and ended."""
        now = self._steady()
        if now - self._looked >= LOOK_S and (self._thread is None or not self._thread.is_alive()):
            self._looked = now
            self._thread = threading.Thread(target=self._work, args=(now,), daemon=True)
            self._thread.start()

    def _work(self, now: float) -> None:
        try:
            self.move()
            if now - self._swept >= SWEEP_S:
                self._swept = now
                self.sweep()
        except Exception as error:  # the next look tries again; following must not stop
            _LOG.error("states of idle symbols stay in Redis for now: %s: %.300s", type(error).__name__, error)

    def move(self) -> int:
        """Move every state that is in Redis; return how many. Raise `StorageError` where the storage is away."""
        moved = 0
        for p in range(self._partitions):
            for name, value, state in _values(self._client, p):
                if state.parts is None or state.watermark_us is None:  # it is at the tape, or of an earlier release
                    continue
                new = idle_state.reference(state)
                self._store.write(new.name(name.decode()), state.parts)
                moved += bool(self._client.eval(_GIVE, 1, keys.idle(p), name, value, idle_state.encode(new)))
        return moved

    def sweep(self) -> int:
        """Delete the objects that no value has referred to for `KEPT_S`; return how many."""
        objects = set(self._store.names())  # before the values: what is written from here on is not among them
        for p in range(self._partitions):
            for name, _, state in _values(self._client, p):
                if state.parts is None:
                    objects.discard(state.name(name.decode()))
        now = self._steady()
        self._unused_since = {unused: self._unused_since.get(unused, now) for unused in objects}
        old = [unused for unused, since in self._unused_since.items() if now - since >= KEPT_S]
        for unused in old:
            self._store.delete_object(unused)
            del self._unused_since[unused]
        return len(old)


def _values(client: redis.Redis, p: int) -> Iterator[tuple[bytes, bytes, IdleState]]:
    """Yield the idle symbols of a partition with their values."""
    found: Any = client.hscan_iter(keys.idle(p), count=PAGE)
    for name, value in found:
        yield name, value, idle_state.unpack(value)
