"""Loading the state of an idle symbol: from Redis, or where Redis says that it is at the tape, from there.

The storage may be slow or away, and a lease must not end meanwhile. So an object is read in a thread. If it is not there in ``ANSWER_S``,
`AwayError` is raised: the partition waits at that message, others go on, and the next attempt finds what the thread has read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis

from ingest.streams import idle_state, keys

_LOG = logging.getLogger(__name__)
ANSWER_S = 0.3
AWAY_S = 1.0  # a log waits so long until the state is asked for again
P = TypeVar("P")
Read = Callable[[str], Any]
"""Returns an object at the tape, or None where it is not there; it may take long."""


class AwayError(Exception):
    """The state of an idle symbol cannot be read now."""


class IdleLoad:
    """Loads states for all partitions of a worker.

    Parameters
    ----------
    client : redis.Redis
    read : callable
        Reads an object at the tape.
    """

    def __init__(self, client: redis.Redis, read: Read) -> None:
        self._client = client
        self._read = read
        self._reading: dict[str, _Reading] = {}

    def load(self, p: int, symbol: str) -> bytes | None:
        """Return the packed state of a symbol; None where there is none. Raise `AwayError` if it cannot be read now."""
        value: Any = self._client.hget(keys.idle(p), symbol)
        if value is None:
            return None
        state = idle_state.unpack(value)
        if state.parts is not None:
            return state.parts
        name = state.name(symbol)
        reading = self._reading.get(name)
        if reading is None:
            reading = self._reading[name] = _Reading(self._read, name)
        reading.thread.join(ANSWER_S)
        if reading.thread.is_alive():
            raise AwayError(f"the state of {symbol} at the tape is not read yet")
        del self._reading[name]
        if reading.error is not None:
            raise AwayError(f"the state of {symbol} at the tape cannot be read: {reading.error}")
        if reading.found is None:
            _LOG.error("the state of the idle symbol %s is not at the tape any more, and it starts anew", symbol)
        return reading.found


class Waits:
    """Which logs are not read for now, because the state of an idle symbol cannot be read.

    Attributes
    ----------
    now : set of str
        Those of which entries were read in this turn and cannot be processed.
    """

    def __init__(self) -> None:
        self.now: set[str] = set()
        self._until: dict[str, float] = {}

    def __contains__(self, stream: str) -> bool:
        return bool(self._until) and self._until.get(stream, 0.0) > time.monotonic()

    def begin(self, stream: str, why: AwayError) -> None:
        """Let a log wait for ``AWAY_S``."""
        _LOG.warning("%s is not read for %.0f s: %s", stream, AWAY_S, why)
        self.now.add(stream)
        self._until[stream] = time.monotonic() + AWAY_S

    def without(self, partitions: dict[str, P]) -> dict[str, P]:
        """Begin a turn: return the partitions whose logs do not wait."""
        self.now.clear()
        if not self._until:
            return partitions
        found = {stream: one for stream, one in partitions.items() if stream not in self}
        if len(found) == len(partitions):
            self._until.clear()
        return found


class _Reading:
    def __init__(self, read: Read, name: str) -> None:
        self.found: bytes | None = None
        self.error: Exception | None = None
        self._read, self._name = read, name
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            self.found = self._read(self._name)
        except Exception as error:  # of the storage: told, and tried again
            self.error = error


def reader(place: str) -> Read:
    """Return what reads objects at the tape of that place."""

    def read(name: str) -> Any:
        if not place:
            raise ValueError("TFS_TAPE is empty here")
        from ingest.tape.idle import FOLDER  # here, because most workers never need what it imports
        from ingest.tape.store import Store

        store = Store(place, FOLDER)
        if not store.exists():
            raise FileNotFoundError(f"{place} is not there: mount the tape's folder here, or set TFS_IDLE_TO_TAPE=0")
        return store.read(name)

    return read
