"""What is looked at while a simulation runs: every write of an online row, every change of settings, every loss of a tail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from feature_repo.stores.online.format import CREATED_TAG, decode_time, event_and_silence
from ingest.streams import keys
from ingest.worker import rows
from tests.simulation.scripts import script_name
from tests.simulation.server import Server
from tests.simulation.world import World

_CHECKPOINT = b"checkpoint:"


@dataclass(slots=True)
class Served:
    """A row that was stored online: the words of its HSET, and whether the worker that stored it committed afterwards."""

    words: Sequence[bytes]
    is_committed: bool = False


class Watch:
    """Facts for the checks. What must be rolled back with the server is kept in keys of its own there (``sim:...``).

    Attributes
    ----------
    served : dict
        By key and name of the time field and event time: the rows that were readable.
    lost_rows : dict
        Rows of outboxes that a server lost, which may have reached the database: by key and created time their bits.
    lost_entries : list
        Fields of the entries of streams that a server lost.
    n_lost : Counter of bytes
        How many those are, by stream.
    """

    def __init__(self, world: World, server: Server) -> None:
        self.world = world
        self.problems: list[str] = []
        self.served: dict[tuple[bytes, bytes, int], list[Served]] = {}
        self._stored: list[Served] = []
        self._not_committed: dict[tuple[bytes, bytes], list[Served]] = {}
        self.lost_rows: dict[tuple[str, str, int], dict[int, tuple[bytes, int]]] = {}
        self.lost_entries: list[list[bytes]] = []
        self.n_lost: Counter[bytes] = Counter()
        self.n_restored = 0
        self.clock_back_us = 0
        self._server = server
        self._after: dict[bytes, bytes] = {}
        server.watch = self._see

    def _see(self, key: bytes, fields: dict[bytes, bytes], words: Sequence[bytes]) -> None:
        first = words[2]
        if first.startswith(b"_ts:"):
            new = event_us(words[3])
            if (old := fields.get(first)) is not None and event_us(old) > new:
                self.problems.append(f"the online row {key!r} {first!r} went back from {event_us(old)} to {new}")
            self._stored.append(Served(words))
            self.served.setdefault((key, first, new), []).append(self._stored[-1])
        elif key.startswith(_CHECKPOINT):
            if first == b"last_id":
                self._after[key] = fields.get(b"last_id", b"0-0")
            else:
                self._see_state(key, fields, words)

    def _see_state(self, key: bytes, fields: dict[bytes, bytes], words: Sequence[bytes]) -> None:
        for name, value in zip(words[2::2], words[3::2], strict=True):
            if name == b"settings" and key in self._after:  # a partition that is divided gives its own to the new ones
                self._server.hash(b"sim:settings:" + key)[self._after[key]] = value

    def executed(self, words: Sequence[bytes], reply: Any) -> None:
        """Look whether it was the owner of a partition that stored rows online or committed.

        The reply is 0 where nothing was stored, and an error where nothing was committed.
        """
        if words[0] != b"EVAL" or not isinstance(reply, int) or not reply:
            return
        name, n = script_name(words[1]), int(words[2])
        if name == "write":
            lease, token = words[2 + n], words[4 + n]
        elif name == "commit":
            lease, token = words[3], words[3 + n]
        else:
            return
        if name == "write":
            self._not_committed.setdefault((lease, token), []).extend(self._stored)
            self._stored.clear()
        else:
            for row in self._not_committed.pop((lease, token), ()):
                row.is_committed = True
        if token and self._server.get(lease) != token:
            self.problems.append(f"a {name} was done with {token!r}, and {lease!r} is {self._server.get(lease)!r}")

    def clock_back(self, us: int) -> None:
        """Note that the server's clock was set back."""
        self.clock_back_us -= us

    def restored(self, snapshot: Any, master: int = 0) -> None:
        """Note what a master is about to lose."""
        self.n_restored += 1
        kept, _ = snapshot
        for key, value in self._server._keys.items():
            if not hasattr(value, "history") or self._server.master_of(key) != master:
                continue
            before = len(kept[key].history) if key in kept else 0
            lost = [fields for _, fields in value.history[before:]]
            if key.startswith(b"outbox:"):
                for fields in lost:
                    self._lose_rows(rows.decode(fields[1]))
            else:
                self.lost_entries += lost
                self.n_lost[key] += len(lost)
        self._after.clear()
        self.served.clear()
        self._not_committed.clear()

    def _lose_rows(self, columns: rows.Columns) -> None:
        for i, symbol in enumerate(columns.symbols):
            key = (columns.view.name, symbol, int(columns.event_us[i]))
            bits = (columns.values[i].tobytes(), int(columns.silent_us[i]) // 1000)
            self.lost_rows.setdefault(key, {})[int(columns.created_us[i])] = bits


def event_us(raw: bytes) -> int:
    """Return the event time of a row's time field."""
    return decode_time(event_and_silence(raw)[0])


def created_us(raw: bytes) -> int:
    """Return when the row of a time field was created; 0 where it does not say so."""
    before = raw[: -len(event_and_silence(raw)[0])]
    return int.from_bytes(before[-8:], "little") if before[-9:-8] == CREATED_TAG else 0


def settings_changes(server: Server, p: int) -> dict[bytes, bytes]:
    """Return the settings of a partition by the position from which they count."""
    return dict(server.get(b"sim:settings:" + keys.checkpoint(p).encode()) or {})
