"""A worker that takes partitions over from workers with other kernels, without a pause (``run --hand-over``).

Of each partition, one after the other:

1. A process beside this one rebuilds the kernels that are to begin anew, from the tape (``rebuild``); the log keeps what comes meanwhile.
2. Their symbols are given what the log has, up to what the owner has committed.
3. The owner is asked for the partition. It commits, saves its state, and gives its lease to this worker.
4. The partition is opened: kernels that did not change have the state of the owner, the others the rebuilt one, of the same entry.

An owner that died is not asked: its lease ends, and the partition is opened in the same way. If this worker dies before its first commit,
the state of the owner before is there; afterwards its own, and only workers with its kernels go on with that.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import redis

from ingest.settings import Settings
from ingest.streams import handing, keys, read
from ingest.streams.membership import LEASE_MS, Member
from ingest.worker import basis
from ingest.worker.opening import read_checkpoint
from ingest.worker.partition import Partition
from ingest.worker.rebuilding import Rebuilding, Rebuilt, begin_anew
from ingest.worker.rebuilt import KEPT_S, reaches_back
from ingest.worker.versions import Door

_LOG = logging.getLogger(__name__)
AT_ONCE = 4000  # entries of one partition to follow in one look
AGAIN_S = 10.0  # between two attempts to rebuild a partition


class HandOver:
    """What a worker does where others with other kernels run: it waits, or takes their partitions over.

    Parameters
    ----------
    client : redis.Redis
    settings : Settings
    member : Member
        Of the worker.
    how : str
        ``wait``; ``rebuild``; or ``cold``, to take over without rebuilding: then kernels that changed begin anew.
    started_ms : int
        When the command was started. A worker that it starts again keeps this time, and so takes nothing back from a later command.
    """

    def __init__(self, client: redis.Redis, settings: Settings, member: Member, how: str, started_ms: int) -> None:
        if how != "wait":
            member.ready = set()
        self._door = Door(client, member)
        self._client = client
        self._settings = settings
        self._member = member
        self._is_cold = how == "cold"
        self._seats = list(range(settings.partitions))
        self._started_ms = started_ms
        self._is_done = False
        self._pasts: dict[int, Past | None] = {}
        self._job: tuple[int, Rebuilding, bytes | None] | None = None
        self._not_before: dict[int, float] = {}

    def reset(self) -> None:
        """Forget what was rebuilt: the server may be one of a moment ago."""
        self._pasts.clear()
        self._end_job()
        self._is_done = False

    def past(self, p: int) -> Partition | None:
        """Return the symbols of a partition whose kernels were rebuilt, for its opening; None where none begin anew."""
        found = self._pasts.get(p)
        return None if found is None else found.partition

    def finish(self, p: int) -> bool:
        """Note that a partition is open; return whether it was taken over: then its state is to be saved at once."""
        if p not in self._pasts:
            return False
        if self._pasts.pop(p) is not None:
            self._client.delete(keys.kept(p))
        return True

    def look(self, keep_leases: Callable[[], None]) -> None:
        """Do what is due of the steps 1 to 3 after a sign of life; ``keep_leases`` is called again and again."""
        member = self._member
        self._door.look()
        if member.ready is None or (self._is_done and not member.others):
            return
        codes = handing.codes(self._client, self._seats)
        for p in [p for p in self._seats if p in member.held and codes[p] != member.code and p not in self._pasts]:
            member.release(p)  # its first commit failed, and what was rebuilt is in no state
        is_goal = self._is_goal()
        wanted = [
            p
            for p in self._seats[member.fellows.index(member.name) :: len(member.fellows)]
            if p not in member.held and codes[p] != member.code and (is_goal or codes[p] not in member.others)
        ]
        for p in self._pasts.keys() - wanted - member.held.keys():
            del self._pasts[p]
        if self._job is not None and self._job[0] not in wanted:
            self._end_job()
        self._prepare(wanted, keep_leases)
        ready = [p for p in wanted if p in self._pasts and self._follow(p, keep_leases)]
        member.ready = set(ready)
        member.enters = self._is_done = not wanted
        if ready and is_goal and (token := handing.ask(self._client, ready[0], member.name, LEASE_MS)) is not None:
            member.held[ready[0]] = token

    def _is_goal(self) -> bool:
        """Return whether partitions are handed over to the kernels of this worker: those of the command that was started last."""
        goal: Any = self._client.get(keys.HAND_OVER)
        code, _, started_ms = (goal or b"").decode().partition(" ")
        if self._started_ms > int(started_ms or 0):
            code = self._member.code
            self._client.set(keys.HAND_OVER, f"{code} {self._started_ms}")
        return code == self._member.code

    def _prepare(self, wanted: list[int], keep_leases: Callable[[], None]) -> None:
        """Begin to rebuild the next partition, or take what was rebuilt."""
        if self._job is not None:
            self._take_job(*self._job, keep_leases)
            return
        now = time.monotonic()
        for p in [p for p in wanted if p not in self._pasts and self._not_before.get(p, 0.0) <= now]:
            self._not_before[p] = now + AGAIN_S
            checkpoint = {} if self._is_cold else read_checkpoint(self._client, p, keep_leases)
            settings = basis.decode(checkpoint.get(basis.FIELD), self._settings)
            if changed := begin_anew(checkpoint, settings):
                self._begin(p, checkpoint, settings, changed)
                return
            if self._is_cold or any(b" " in key for key in checkpoint):
                self._pasts[p] = None
            else:  # no symbol was heard so far: all that come are new
                found = Rebuilt(checkpoint.get(b"state_id", read.START), {}, {})
                self._keep(p, found.position)
                self._take(p, found, checkpoint.get(basis.FIELD), keep_leases)

    def _begin(
        self, p: int, checkpoint: Mapping[bytes, bytes], settings: Settings, changed: dict[str, frozenset[str]]
    ) -> None:
        taped: Any = self._client.get(keys.taped(p))
        self._keep(p, taped or read.START)
        kernels: frozenset[str] = frozenset().union(*changed.values())
        _LOG.warning("partition %d: rebuilding %s of %d symbols", p, ", ".join(sorted(kernels)), len(changed))
        job = Rebuilding(settings, p, changed, kernels, checkpoint.get(b"state_id", read.START))
        self._job = p, job, checkpoint.get(basis.FIELD)

    def _take_job(self, p: int, job: Rebuilding, its_basis: bytes | None, keep_leases: Callable[[], None]) -> None:
        self._keep(p, None)
        try:
            if (found := job.look()) is not None:
                self._end_job()
                self._take(p, found, its_basis, keep_leases)
        except RuntimeError as why:
            self._end_job()
            _LOG.error("partition %d is not rebuilt, and this is tried again: %s", p, why)

    def _take(self, p: int, found: Rebuilt, its_basis: bytes | None, keep_leases: Callable[[], None]) -> None:
        read.join_group(self._client, [keys.events(p)])  # makes the log, if it is not there
        if not reaches_back(self._client, keys.events(p), found.position):
            _LOG.error("partition %d is rebuilt again: its log lacks entries that are not on the tape", p)
            return
        self._pasts[p] = Past.of(p, basis.decode(its_basis, self._settings), its_basis, found, keep_leases)
        for name, lacks in sorted(found.missing.items())[:10]:
            _LOG.warning("%s: the tape lacks %s", name, "; ".join(f"{what} for {one}" for one, what in lacks.items()))

    def _end_job(self) -> None:
        if self._job is not None:
            self._job[1].end()
            self._job = None

    def _follow(self, p: int, keep_leases: Callable[[], None]) -> bool:
        """Give rebuilt symbols entries that the owner has committed; return whether they have all of them."""
        if (past := self._pasts[p]) is None:
            return True
        found: Any = self._client.hmget(keys.checkpoint(p), [b"last_id", basis.FIELD])
        last_id, its_basis = found
        if its_basis != past.basis:  # other settings count, and may refuse other messages
            del self._pasts[p]
            return False
        if last_id is None or read.is_newer(past.partition.position, last_id):  # the tape was before the owner
            return False
        entries = read.entries_between(self._client, keys.events(p), past.partition.position, last_id, AT_ONCE)
        past.partition.replay(entries, keep_leases)
        self._keep(p, past.partition.position)
        return len(entries) < AT_ONCE

    def _keep(self, p: int, position: bytes | None) -> None:
        """Let the log keep what comes behind an entry, or what it keeps already."""
        if position is None:
            self._client.expire(keys.kept(p), KEPT_S)
        else:
            self._client.set(keys.kept(p), position, ex=KEPT_S)


class Past(NamedTuple):
    """Symbols whose rebuilt kernels follow the log, and the packed settings with which they were rebuilt."""

    partition: Partition
    basis: bytes | None

    @classmethod
    def of(
        cls, p: int, settings: Settings, its_basis: bytes | None, rebuilt: Rebuilt, between: Callable[[], None]
    ) -> Past:
        """Return what was rebuilt, as it goes on; a symbol that is new in the log is opened, too."""
        places = settings.max_symbols + len(rebuilt.parts)
        partition = Partition(p, dataclasses.replace(settings, max_symbols=places))
        for name, parts in rebuilt.parts.items():
            between()
            partition.symbols.open(name, parts)
        partition.position = rebuilt.position
        return cls(partition, its_basis)
