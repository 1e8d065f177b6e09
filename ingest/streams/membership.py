"""Membership: the processes of a role divide its seats, and the lease of a seat decides which process may write.

A worker's seats are the partitions. The router and the offline writer have one seat each, so that a second copy stands by.

- Every process writes a sign of life to a sorted set in Redis several times a second, by the server's clock, and reads those of the others.
- The seats are divided evenly: of n processes the oldest ``seats % n`` get one more than the others. A process that holds more releases
  some, and one that holds fewer acquires free ones. No process commands another.
- A seat is held by a lease that ends by itself ``LEASE_MS`` after it was last renewed. Its value is a fencing token, new for each lease.
  The script that writes checks the token, so an owner that slept too long changes nothing.
- Processes of a role may have a code: workers with other kernels make other values, and may not go on with each other's states. Each
  code divides the seats among its own. The first code is in, and a process of another one waits until those are gone. A checkpoint names
  the code that saved it, and such a seat is not taken while processes of that other code live.
- One long write may have a longer lease, up to ``LONGEST_LEASE_MS``. A lease that has more left was given before the server's clock was set
  back. It is free: otherwise its seat would be closed until the clock is where it was.
"""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis

from feature_repo.stores.scripts import read_script
from ingest.streams import handing, keys, replicas
from ingest.streams.backlog import ask

_LOG = logging.getLogger(__name__)
LEASE_MS = 2000
LONGEST_LEASE_MS = 120_000
"""The longest lease that is ever given. In this time a server takes 1.2 GB of a state, more than it takes in one command."""
BEAT_S = 0.2  # between two signs of life, and between two looks for free seats
PAUSE_MS = 500  # without a sign of life of any process: Redis was away, or is one of a moment ago
STAND_BY_S = 0.1
GONE_MS = 30_000
"""A silent process of other code is gone after so long, in which Redis was well: one that died is started again before."""
ROLES = ("worker", "router", "writer")  # roles whose processes give signs of life
TAPE = "tape"  # does so too, in a deployment that has a tape
SCORER = "scorer"  # gives no sign of life while it scores a batch; what tells is when it last asked for posts
ASKED_MS = 60_000  # a scorer that has not asked for posts for so long counts as away

NO_KEY = -2  # what PTTL returns for a key that does not exist

_BEAT = read_script(__file__, "beat.lua")
_ACQUIRE = read_script(__file__, "acquire_lease.lua")
_RENEW = read_script(__file__, "renew_lease.lua")
_RELEASE = read_script(__file__, "release_lease.lua")

Seat = int | str


class FencedError(RuntimeError):
    """Another process holds the seat now; this one must drop the work that it has not written."""


class Member:
    """One process of a role.

    Parameters
    ----------
    client : redis.Redis
    role : str
    seats : sequence of Seat
        Names of all seats of the role, the same for every process.
    code : str
        Names, in hexadecimal digits, the code that the process runs, where processes of other code may not go on with its states.

    Attributes
    ----------
    held : dict of Seat to str
        The seats that this process holds, with their tokens.
    is_in : bool
        Whether it takes part. Else it waits until all processes of other code are gone, and holds no seat.
    others : set of str
        Codes of other processes, as of the last sign of life; empty for a process that tells none.
    fellows : list of str
        Those among which the seats are divided, this one among them, oldest first.
    heirs : dict of Seat to str
        Processes that ask for seats of this one.
    ready : set of Seat, optional
        None for a process that waits until those of other code are gone, and takes their seats then. Else it hands over: it divides the
        seats among those of its code also while it waits, and takes these seats whatever their code, and no others of other code.
    enters : bool
        Of a process that hands over: whether it has no seat to wait for any more.
    goal : int
        The number that the number of partitions is being raised to, as of the last sign of life; 0 where it is not.
    well_s : float
        For how long Redis has had signs of life of any process without a pause, as of the last one of this process.
    """

    def __init__(self, client: redis.Redis, role: str, seats: Sequence[Seat], code: str = "") -> None:
        self.held: dict[Seat, str] = {}
        self.well_s = 0.0
        self.is_in = False
        self.others: set[str] = set()
        self.fellows: list[str] = []
        self.heirs: dict[Seat, str] = {}
        self.ready: set[Seat] | None = None
        self.enters = False
        self.goal = 0
        self._client = client
        self._places = keys.members(role), keys.SIGNS_OF_LIFE, keys.waiting(role), keys.GOAL
        self._seats = seats
        self.code = code
        self._due = 0
        self._beaten = 0.0
        started = f"{time.time_ns() // 1000:016x}"  # first, so that names sort by age
        of_code = f"+{code}" if code else ""
        self.name = f"{started}-{secrets.token_hex(4)}{of_code}@{socket.gethostname()}"

    def is_beat_due(self) -> bool:
        """Return whether it is time for a sign of life."""
        return time.monotonic() - self._beaten >= BEAT_S

    def has_sure_leases(self) -> bool:
        """Return whether no lease of this process can have ended since it was renewed."""
        return time.monotonic() - self._beaten < LEASE_MS / 1000

    def beat(self, *, confirm: bool = False) -> list[Seat]:
        """Give a sign of life and renew the leases; return the seats that were lost.

        To ``confirm`` is to wait until replicas have the renewals, and so all that was in Redis before them.
        """
        at = time.monotonic()
        enters = self.enters if self.ready is not None else bool(self.held) or (not self.is_in and self._has_state())
        pipe: Any = self._client.pipeline(transaction=False)
        about = (self.name, LEASE_MS, PAUSE_MS, self.code, GONE_MS, int(enters))
        pipe.eval(_BEAT, len(self._places), *self._places, *about)
        for seat, token in self.held.items():
            pipe.eval(_RENEW, 2, keys.owner(seat), keys.heir(seat), token, LEASE_MS)
        found = replicas.execute(self._client, pipe) if confirm else pipe.execute()
        (well_ms, living, others, waiting, others_waiting, is_in, goal), *renewed = found
        self.goal = int(goal)
        self.well_s = well_ms / 1000
        self.is_in = bool(is_in)
        self.others = {code_of(name.decode()) for name in (*others, *(others_waiting if is_in else ()))}
        asked = dict(zip(list(self.held), renewed, strict=True))
        self.heirs = {seat: heir.decode() for seat, heir in asked.items() if heir not in (0, 1, self.name.encode())}
        lost = [seat for seat, kept in asked.items() if not kept]
        for seat in lost:
            self.lose(seat)
        fellows = living if self.ready is None else {*living, *waiting}
        self.fellows = sorted(name.decode() for name in fellows)
        takes_part = self.is_in or self.ready is not None
        self._due = share(len(self._seats), self.fellows, self.name) if takes_part else 0
        self._beaten = at
        return lost

    def _has_state(self) -> bool:
        """Return whether a seat has a state of this code: then its processes take part, also one that starts again."""
        return bool(self.code) and self.code in handing.codes(self._client, self._seats)

    def extend(self, seat: Seat, lease_ms: int) -> bool:
        """Make the lease of a seat last ``lease_ms`` from now, for one write that takes long; return False if it was lost.

        No lease is longer than ``LONGEST_LEASE_MS``. The next sign of life makes it as short as every lease again.
        """
        token = self.held.get(seat)
        kept = token is not None and bool(
            self._client.eval(_RENEW, 1, keys.owner(seat), token, min(lease_ms, LONGEST_LEASE_MS))
        )
        if not kept:
            self.lose(seat)
        return kept

    def lose(self, seat: Seat) -> None:
        """Note that the lease of a seat does not count any more, and end it where it is there: then the seat is free at once."""
        if (token := self.held.pop(seat, None)) is not None:
            _LOG.warning("the lease of %s was lost", seat)
            self._client.eval(_RELEASE, 1, keys.owner(seat), token)

    def excess(self) -> list[Seat]:
        """Return the seats to release: those above this process's share."""
        return list(self.held)[self._due :]

    def acquire_free(self) -> None:
        """Acquire free seats up to this process's share, but none whose state is that of living processes of other code."""
        if len(self.held) >= self._due:
            return
        pipe: Any = self._client.pipeline(transaction=False)
        others = [seat for seat in self._seats if seat not in self.held]
        for seat in others:
            pipe.pttl(keys.owner(seat))
        is_free = [left_ms == NO_KEY or left_ms > LONGEST_LEASE_MS for left_ms in pipe.execute()]
        free = [seat for seat, is_so in zip(others, is_free, strict=True) if is_so]
        codes = handing.codes(self._client, free) if free and self.code else [""] * len(free)
        for seat, code in zip(free, codes, strict=True):
            is_open = code not in self.others if self.ready is None else code == self.code or seat in self.ready
            if is_open and len(self.held) < self._due and (token := self._acquire(seat, code)):
                self.held[seat] = token

    def _acquire(self, seat: Seat, code: str) -> str | None:
        touched = (keys.owner(seat), keys.fence(seat), *((keys.checkpoint(seat),) if self.code else ()))
        token: Any = self._client.eval(_ACQUIRE, len(touched), *touched, LEASE_MS, LONGEST_LEASE_MS, self.name, code)
        return None if token is None else str(token.decode())

    def release(self, seat: Seat) -> None:
        """Release a seat, if it is still held."""
        self._client.eval(_RELEASE, 1, keys.owner(seat), self.held.pop(seat))

    def hold_seat(self) -> str | None:
        """For a role with one seat: beat if it is due, and return the token if this process holds the seat."""
        if self.is_beat_due():
            self.beat()
            for seat in self.excess():
                self.release(seat)
            self.acquire_free()
        return next(iter(self.held.values()), None)

    def hold_until(self, stop: threading.Event) -> Iterator[str]:
        """For a role with one seat: give its token turn by turn, and wait while another process holds it; leave at ``stop``."""
        while not stop.is_set():
            if (token := self.hold_seat()) is None:
                stop.wait(STAND_BY_S)
            else:
                yield token
        self.leave()

    def leave(self) -> None:
        """Release every seat and leave the set of living processes."""
        for seat in list(self.held):
            self.release(seat)
        members, _, waiting, _ = self._places
        self._client.zrem(members, self.name)
        self._client.zrem(waiting, self.name)


def server_id(client: redis.Redis) -> str:
    """Return the id of a Redis: another one after each start, and after each failover. It is empty where the server tells none."""
    about: Any = client.info("replication")
    return str(about.get("master_replid", ""))


def server_of(token: str) -> str:
    """Return the id of the Redis that gave a token.

    >>> server_of("7:000645a1b2c3d4e5-0badcafe@node-7:03d2")
    '03d2'
    """
    return token.rpartition(":")[2]


def share(seats: int, living: Sequence[str], me: str) -> int:
    """Return the number of seats of ``me`` among the living, which are sorted oldest first.

    >>> [share(7, ["a", "b", "c"], who) for who in ("a", "b", "c")]
    [3, 2, 2]
    """
    return seats // len(living) + (living.index(me) < seats % len(living))


def code_of(name: str) -> str:
    """Return the code of a process, from its name among the living; empty where it has none.

    >>> code_of("000645a1b2c3d4e5-0badcafe+1f2e3d4c@node-7")
    '1f2e3d4c'
    """
    return name.partition("@")[0].partition("+")[2]


def host(name: str) -> str:
    """Return the host of a process, from its name among the living.

    >>> host("000645a1b2c3d4e5-0badcafe@node-7")
    'node-7'
    """
    return name.partition("@")[2]


def silent_ms(client: redis.Redis, roles: Sequence[str] = (*ROLES, SCORER)) -> dict[str, dict[str, int]]:
    """Return for each process of each role how long ago it gave a sign of life, in ms of the server's clock."""
    return _silent_ms(client, {role: keys.members(role) for role in roles})


def worker_silences(client: redis.Redis) -> dict[str, dict[str, int]]:
    """Return the same of the workers that ``serve``, and of those that ``wait`` because others have other code."""
    return _silent_ms(client, {"serve": keys.members("worker"), "wait": keys.waiting("worker")})


def _silent_ms(client: redis.Redis, places: Mapping[str, str]) -> dict[str, dict[str, int]]:
    calls = [
        ("XINFO CONSUMERS", keys.SOCIAL, keys.GROUP) if role == SCORER else ("ZRANGE", place, 0, -1, "WITHSCORES")
        for role, place in places.items()
    ]
    (seconds, micros), *replies = ask(client, [("TIME",), *calls])
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    found: dict[str, dict[str, int]] = {}
    for role, reply in zip(places, replies, strict=True):
        if role == SCORER:
            found[role] = {c["name"].decode(): c["idle"] for c in reply or [] if c["name"] == keys.CONSUMER.encode()}
        else:
            members = zip(reply[::2], reply[1::2], strict=True)
            found[role] = {name.decode(): now_ms - int(at_ms) for name, at_ms in members}
    return found


def count_alive(silences: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Return how many processes of each role are alive: silent for less than a lease; the scorer for less than a minute."""
    return {
        role: sum(ms < (ASKED_MS if role == SCORER else LEASE_MS) for ms in of.values())
        for role, of in silences.items()
    }
