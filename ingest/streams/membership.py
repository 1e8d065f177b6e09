"""Who works, and at what: the processes of a role share its seats, and a seat's lease says who may write.

A worker's seats are the partitions; the router and the offline writer have one seat each, so that a second copy stands by.

- Every process of a role tells Redis that it lives, several times a second, and learns who else does: a sorted set, by the server's clock.
- The seats are divided evenly: of n processes the oldest ``seats % n`` aim at one more than the others. One that holds more gives back,
  one that holds fewer takes what is free. Nobody is told what to do.
- A seat is held by a lease that ends by itself ``LEASE_MS`` after it was last renewed. Its value is a fencing token that nobody held
  before: whoever writes shows it to the script that writes, so an owner that slept too long changes nothing.
"""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import Sequence
from typing import Any

import redis

from ingest.streams import keys

_LOG = logging.getLogger(__name__)
LEASE_MS = 2000
BEAT_S = 0.2
"""Between two signs of life; a seat that is free is seen within it."""

_BEAT = """
local time = redis.call('TIME')
local now, ttl = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ttl)
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + ttl, '+inf') -- the server's clock was set back
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
"""KEYS: the role's members. ARGV: who beats, milliseconds until silence is death. Returns the living."""

_ACQUIRE = """
local left = redis.call('PTTL', KEYS[1])
if left ~= -2 and left <= tonumber(ARGV[1]) then return false end -- more is left only where the clock was set back
local token = redis.call('INCR', KEYS[2]) .. ':' .. ARGV[2]
redis.call('SET', KEYS[1], token, 'PX', ARGV[1])
return token
"""

_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""

Seat = int | str


class FencedError(RuntimeError):
    """Somebody else holds the seat now; what this process had in hand is its business no longer."""


class Member:
    """One process of a role.

    Parameters
    ----------
    client:
        The Redis that everybody shares.
    role:
        Whose seats these are.
    seats:
        Names of all seats of the role, the same for every process.

    Attributes
    ----------
    held:
        The seats that this process holds, with their tokens.
    """

    def __init__(self, client: redis.Redis, role: str, seats: Sequence[Seat]) -> None:
        self.held: dict[Seat, str] = {}
        self._client = client
        self._key = keys.members(role)
        self._seats = seats
        self._goal = 0
        self._beaten = 0.0
        self._name = (
            f"{time.time_ns() // 1000:016x}-{secrets.token_hex(4)}@{socket.gethostname()}"  # in the order of age
        )

    def due(self) -> bool:
        """Whether it is time for a sign of life."""
        return time.monotonic() - self._beaten >= BEAT_S

    def stands(self) -> bool:
        """Whether no lease of this process can have ended since it was renewed."""
        return time.monotonic() - self._beaten < LEASE_MS / 1000

    def beat(self) -> list[Seat]:
        """Give a sign of life and renew the leases; the seats that were lost."""
        at = time.monotonic()
        pipe: Any = self._client.pipeline(transaction=False)
        pipe.eval(_BEAT, 1, self._key, self._name, LEASE_MS)
        for seat, token in self.held.items():
            pipe.eval(_RENEW, 1, keys.owner(seat), token, LEASE_MS)
        living, *renewed = pipe.execute()
        lost = [seat for seat, kept in zip(list(self.held), renewed, strict=True) if not kept]
        for seat in lost:
            self.lose(seat)
        self._goal = share(len(self._seats), sorted(living), self._name.encode())
        self._beaten = at
        return lost

    def lose(self, seat: Seat) -> None:
        """Note that somebody else holds the seat."""
        if self.held.pop(seat, None) is not None:
            _LOG.warning("the lease of %s was lost", seat)

    def excess(self) -> list[Seat]:
        """The seats to give back, as others want them."""
        return list(self.held)[self._goal :]

    def take(self) -> None:
        """Take free seats, as many as are due to this process."""
        if len(self.held) >= self._goal:
            return
        others = [seat for seat in self._seats if seat not in self.held]
        owners: Any = self._client.mget([keys.owner(seat) for seat in others])
        for seat, owner in zip(others, owners, strict=True):
            if owner is None and len(self.held) < self._goal and (token := self._acquire(seat)):
                self.held[seat] = token

    def _acquire(self, seat: Seat) -> str | None:
        token: Any = self._client.eval(_ACQUIRE, 2, keys.owner(seat), keys.fence(seat), LEASE_MS, self._name)
        return None if token is None else str(token.decode())

    def release(self, seat: Seat) -> None:
        """Give a seat back, if it is still held."""
        self._client.eval(_RELEASE, 1, keys.owner(seat), self.held.pop(seat))

    def sit(self) -> str | None:
        """Of a role with one seat: beat where it is due, and the token where the seat is this process's."""
        if self.due():
            self.beat()
            for seat in self.excess():
                self.release(seat)
            self.take()
        return next(iter(self.held.values()), None)

    def leave(self) -> None:
        """Give back every seat and be counted no longer."""
        for seat in list(self.held):
            self.release(seat)
        self._client.zrem(self._key, self._name)


def share(seats: int, living: Sequence[bytes], me: bytes) -> int:
    """How many of the seats are due to ``me`` among the living, oldest first.

    >>> [share(7, [b"a", b"b", b"c"], who) for who in (b"a", b"b", b"c")]
    [3, 2, 2]
    """
    return seats // len(living) + (living.index(me) < seats % len(living))


def host(name: str) -> str:
    """The host of a process, by its name among the living.

    >>> host("000645a1b2c3d4e5-0badcafe@node-7")
    'node-7'
    """
    return name.partition("@")[2]
