"""What the owners of the partitions do when the number of partitions is raised from P to N (``streams.raised``).

Of each partition, one step after the other, each by one script under the lease:

1. ``closed``: its log takes no entries any more, but rows of the symbols that its own follow.
2. ``quiet``: the log is worked to its end, and that is committed. So the rows that others follow are in their logs.
3. When all partitions are quiet, no log is given anything any more. The partition is worked to its end again, saved, and divided
   (``divide``). Then its log says N. Nothing is processed until N counts.

Where an owner dies on the way, what the logs say and the saved states tell the next one how far it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import redis

from feature_repo.stores.scripts import read_script
from ingest.settings import Settings
from ingest.streams import keys, raised, read, replicas
from ingest.streams.keys import partition_of
from ingest.streams.membership import Seat
from ingest.worker import missing
from ingest.worker.divide import divide
from ingest.worker.partition import Partition

_TURN = read_script(__file__, "turn_partition.lua")


class Raising:
    """How far the raising is, as one worker sees it.

    Parameters
    ----------
    client : redis.Redis
    settings : Settings
    save : callable
        Commits and saves a partition.
    keep_leases : callable
        Called again and again.

    Attributes
    ----------
    divided : set of int
        Partitions that are divided; they are worked no more until the new number counts.
    """

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        save: Callable[[Partition], None],
        keep_leases: Callable[[], None],
    ) -> None:
        self.divided: set[int] = set()
        self._client = client
        self._now, self._number = settings.partitions, settings.number
        self._goal = 0  # the newest that was seen
        self._save = save
        self._keep_leases = keep_leases

    def look(self, goal: int, held: Mapping[Seat, str], partitions: Mapping[str, Partition]) -> None:
        """Take the next step of each partition that is open here, where the number is being raised to a ``goal``."""
        if goal <= self._now:
            if self._goal and raised.number(self._client) == self._now:
                # Redis came back without the goal. Whoever asked for it may be gone, and logs may be closed already.
                self.divided.clear()
                raised.ask(self._client, self._now, self._goal)
            return
        self._goal = goal
        self.divided.clear()
        said = self._said()
        self.divided.update(p for p, one in enumerate(said) if one == str(goal))
        are_quiet = all(one in (f"quiet {goal}", str(goal)) for one in said)
        for p, partition in ((p, partitions.get(keys.events(p))) for p in range(self._now)):
            if partition is None or p not in held or p in self.divided:
                continue
            if said[p] == self._number:
                self._turn(held, p, self._number, f"closed {goal}")
            elif said[p] == f"closed {goal}" and self._is_saved(partition):
                self._turn(held, p, said[p], f"quiet {goal}")
            elif are_quiet and self._is_saved(partition) and p in held:
                divide(self._client, p, self._now, goal, self._keep_leases)
                if self._turn(held, p, said[p], str(goal)):
                    self.divided.add(p)
        if len(self.divided) == self._now:
            replicas.confirm(self._client, range(self._now))
            raised.fix(self._client, self._now, goal)

    def _said(self) -> list[str]:
        pipe: Any = self._client.pipeline(transaction=False)
        for p in range(self._now):
            pipe.get(keys.number(p))
        return [(found or b"").decode() for found in pipe.execute()]

    def _is_saved(self, partition: Partition) -> bool:
        """Return whether a partition has processed its whole log; it is saved then."""
        last: Any = self._client.xrevrange(keys.events(partition.number), count=1)
        if last and read.is_newer(last[0][0], partition.position):
            return False
        self._save(partition)
        return True

    def _turn(self, held: Mapping[Seat, str], p: int, before: str, after: str) -> bool:
        """Let a log say something else; return whether it does."""
        touched = keys.owner(p), keys.number(p)
        return self._client.eval(_TURN, len(touched), *touched, held.get(p, ""), before, after) is not None


def begin(client: redis.Redis, settings: Settings, p: int, token: str) -> None:
    """Let the log of a partition take entries of the number that counts, and forget missing trades of symbols that it was divided from.

    A failover may have lost what the log says.
    """
    if not settings.number:
        return
    touched = keys.owner(p), keys.number(p)
    said: Any = client.get(keys.number(p)) or b""
    if said == b"" or (said.isdigit() and int(said) < settings.partitions):
        client.eval(_TURN, len(touched), *touched, token, said, settings.number)
    names: Any = client.hkeys(keys.holes(p))
    foreign = [name for name in names if _is_foreign(name.partition(b" ")[0].decode(), p, settings.partitions)]
    if foreign:
        client.hdel(keys.holes(p), *foreign)


def _is_foreign(name: str, p: int, partitions: int) -> bool:
    return name != missing.OTHERS and partition_of(name, partitions) != p
