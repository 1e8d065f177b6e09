"""Symbols that left the worker's memory because they were not heard for a time; their states come back to the bit.

A state is committed to Redis. Where there is a tape, the role ``tape`` moves it there (``ingest/tape/idle.py``).
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Mapping

import msgspec

from ingest.streams.idle_state import pack, parts_of, unpack
from ingest.worker.symbol import Symbol

KEPT = 10  # states of idle symbols that nobody configured are kept for so many times TFS_MAX_SYMBOLS; the oldest are forgotten
LEFT = 20  # give memory back to the system once so many symbols left a partition
FIELD = b"idle"  # of the checkpoint: the names, and which of them have posts


class Idle:
    """The idle symbols of a partition. It does no I/O but through ``load``, which returns the packed state of a symbol.

    Attributes
    ----------
    names : dict of str to bool
        The idle symbols, longest idle first, and whether a withdrawal of a post may concern them.
    """

    def __init__(self, load: Callable[[str], bytes | None], most_unknown: int, is_known: Callable[[str], bool]) -> None:
        self.names: dict[str, bool] = {}
        self._load = load
        self._most_unknown = most_unknown
        self._is_known = is_known
        self._added: dict[str, bytes] = {}
        self._removed: set[str] = set()

    def add(self, symbol: Symbol) -> list[str]:
        """Take over a symbol's state; return the symbols that are forgotten because there are too many."""
        heard_ms = (symbol.received_us or symbol.timeline.watermark) // 1000
        self._added[symbol.name] = pack(heard_ms, symbol.timeline.watermark, symbol.save())
        self._removed.discard(symbol.name)
        self.names[symbol.name] = symbol.engine.remembers_posts()
        unknown = (
            [name for name in self.names if not self._is_known(name)] if len(self.names) > self._most_unknown else []
        )
        forgotten = unknown[: max(len(unknown) - self._most_unknown, 0)]
        for name in forgotten:
            self.remove(name)
        return forgotten

    def find(self, name: str) -> Mapping[str, bytes] | None:
        """Return the state of an idle symbol, None where the name is not idle."""
        if name not in self.names:
            return None
        if (added := self._added.get(name)) is not None:
            return parts_of(unpack(added).parts or b"")
        packed = self._load(name)
        return parts_of(packed) if packed else None

    def remove(self, name: str) -> None:
        """Note that a symbol is no longer idle."""
        if self.names.pop(name, None) is not None:
            self._added.pop(name, None)
            self._removed.add(name)

    def take_changes(self) -> tuple[dict[str, bytes], list[str]]:
        """Return the states to add and the names to remove on the server, with the next commit."""
        changes = self._added, sorted(self._removed)
        self._added, self._removed = {}, set()
        return changes

    def take_over(self, other: Idle) -> None:
        """Go on with the symbols of another one, and with its changes that the server does not have."""
        self.names, self._added, self._removed = other.names, other._added, other._removed

    def renew(self) -> None:
        """Make the names anew: those that are there lie between the objects of symbols that left, and keep their memory from the system."""
        saved = self.save()
        self.names.clear()
        self.restore(saved)

    def save(self) -> bytes:
        """Return the names for the checkpoint."""
        return msgspec.msgpack.encode(self.names)

    def restore(self, saved: bytes | None) -> None:
        """Replace the names by those that ``save`` returned."""
        self.names = msgspec.msgpack.decode(saved, type=dict[str, bool]) if saved else {}


def release_memory_of(left: int, idle: Idle, before: Callable[[], None]) -> int:
    """Give back the memory of enough symbols that left; return of how many it is still kept. Call ``before`` first, as it takes long."""
    if left < LEFT:
        return left
    before()
    idle.renew()
    release_memory()
    return 0


def release_memory() -> None:
    """Give the memory of symbols that left back to the system; Python and the C library keep it otherwise, until the process ends."""
    gc.collect()  # also what Python keeps for new objects
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return  # a C library without this function, as on macOS, has its own way
