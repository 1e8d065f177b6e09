"""The simulated server: the commands that the parts use, on data that can be copied and put back.

It is held against the real server by ``test_server.py``. Time is ``clock``, in microseconds since the epoch; it may be set back. The keys
may be of several masters, which are lost and come back one by one. A script that touches two slots is an error, however many masters
there are.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from redis.exceptions import OutOfMemoryError, ResponseError

from tests.simulation import scripts, stream, stream_commands
from tests.simulation.stream import Stream

Value = bytes | dict[bytes, bytes] | dict[bytes, float] | Stream
_NEEDS_MEMORY = frozenset({b"SET", b"INCR", b"HSET", b"HSETNX", b"HINCRBY", b"ZADD", b"XADD", b"XGROUP", b"XSETID"})
"""Commands that a full server refuses, unless a script has written before."""
_WRITES = _NEEDS_MEMORY | {b"DEL", b"HDEL", b"XDEL", b"XACK", b"XTRIM", b"PEXPIRE", b"EXPIRE", b"ZREM"}


class Server:
    """Keys and commands.

    Attributes
    ----------
    full : bool
        Whether commands that need memory are refused.
    rewrite : callable
        Is given each script before it runs; a plant changes its text.
    watch : callable
        Is given each write of a hash: key, fields before, words.
    """

    def __init__(
        self, clock: Callable[[], int], rng: random.Random, master_of: Callable[[bytes], int] = lambda _: 0
    ) -> None:
        self.clock = clock
        self.master_of = master_of
        self._master = 0  # the one whose script runs
        self.full = False
        self.trims = True  # a real server drops whole nodes of its tree only, so nothing of a short stream
        self.started_us = clock()
        self._lives = Counter[int]()
        self.rewrite: Callable[[str], str] = lambda script: script
        self.watch: Callable[[bytes, dict[bytes, bytes], Sequence[bytes]], None] = lambda *_: None
        self.appended: Callable[[bytes], None] = lambda _: None
        self.rng = rng
        self._keys: dict[bytes, Value] = {}
        self._expires: dict[bytes, int] = {}
        self._gone: list[bytes] = []
        self._dirty: bool | None = None  # whether the script that runs has written; None outside of one

    def snapshot(self) -> tuple[dict[bytes, Value], dict[bytes, int]]:
        """Return all data as it is now."""
        return {key: _copy(value) for key, value in self._keys.items()}, dict(self._expires)

    def restore(self, snapshot: tuple[dict[bytes, Value], dict[bytes, int]], master: int = 0) -> None:
        """Put back what ``snapshot`` returned, of one master."""
        keys, expires = snapshot

        def back(now: dict[bytes, Any], then: dict[bytes, Any]) -> dict[bytes, Any]:
            kept = {key: value for key, value in now.items() if self.master_of(key) != master}
            return kept | {key: _copy(value) for key, value in then.items() if self.master_of(key) == master}

        self._keys, self._expires = back(self._keys, keys), back(self._expires, expires)
        self.started_us = self.clock()
        self._lives[master] += 1

    @property
    def name(self) -> bytes:
        """The id of a master's replication, another one after each ``restore``."""
        life = b"%d" % (self._lives[self._master] + 1) + b" of %d" % self._master * bool(self._master)
        return blake2b(life, digest_size=20).hexdigest().encode()

    def execute(self, words: Sequence[bytes]) -> Any:
        """Run one command and return its reply, or raise the error that it is."""
        name = words[0]
        if name not in _HANDLERS:
            raise ResponseError(f"unknown command {name!r}: it is not simulated, or not in capitals")
        if self._dirty is not True:
            if self.full and name in _NEEDS_MEMORY:
                raise OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
            if self._dirty is False and name in _WRITES:
                self._dirty = True
        return _HANDLERS[name](self, words)

    def get(self, key: bytes) -> Any:
        """Return the value of a key, None where it is absent or has expired."""
        if key in self._expires and self.clock() >= self._expires[key]:
            del self._keys[key], self._expires[key]
            self._gone.append(key)
        return self._keys.get(key)

    def stream(self, key: bytes) -> Stream:
        """Return a stream, which is made where it is absent."""
        found = self.get(key)
        if found is None:
            found = self._keys[key] = Stream()
        if not isinstance(found, Stream):
            raise ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return found

    def hash(self, key: bytes) -> dict[bytes, bytes]:
        """Return a hash, which is made where it is absent."""
        found = self.get(key)
        if found is None:
            found = self._keys[key] = {}
        return found  # type: ignore[no-any-return]

    def expired(self) -> list[bytes]:
        """Return the keys whose time has come since the last call."""
        for key in list(self._expires):
            self.get(key)
        gone, self._gone = self._gone, []
        return gone

    def now_ms(self) -> int:
        """Return the server's time in ms."""
        return self.clock() // 1000

    def _set(self, words: Sequence[bytes]) -> Any:
        _, key, value, *options = words
        if b"NX" in options and self.get(key) is not None:
            return None
        self._keys[key] = value
        self._expires.pop(key, None)
        if b"PX" in options:
            self._expires[key] = self.clock() + 1000 * stream.words_after(options, b"PX")
        if b"EX" in options:
            self._expires[key] = self.clock() + 1_000_000 * stream.words_after(options, b"EX")
        return b"OK"

    def _del(self, words: Sequence[bytes]) -> int:
        found = 0
        for key in words[1:]:
            found += self.get(key) is not None
            self._keys.pop(key, None)
            self._expires.pop(key, None)
        return found

    def _expire(self, words: Sequence[bytes]) -> int:
        name, key, n = words[:3]
        if self.get(key) is None:
            return 0
        self._expires[key] = self.clock() + int(n) * (1000 if name.upper() == b"PEXPIRE" else 1_000_000)
        return 1

    def _pttl(self, words: Sequence[bytes]) -> int:
        if self.get(words[1]) is None:
            return -2
        end = self._expires.get(words[1])
        return -1 if end is None else (end - self.clock()) // 1000

    def _incr(self, words: Sequence[bytes]) -> int:
        n = int(self.get(words[1]) or 0) + 1
        self._keys[words[1]] = b"%d" % n
        return n

    def _hset(self, words: Sequence[bytes]) -> int:
        fields = self.hash(words[1])
        self.watch(words[1], fields, words)
        before = len(fields)
        if len(words) % 2:
            raise ResponseError("wrong number of arguments for 'hset' command")
        fields.update(zip(words[2::2], words[3::2], strict=True))
        return len(fields) - before

    def _hsetnx(self, words: Sequence[bytes]) -> int:
        _, key, name, value = words
        fields = self.hash(key)
        if name in fields:
            return 0
        fields[name] = value
        return 1

    def _hdel(self, words: Sequence[bytes]) -> int:
        fields = self.get(words[1]) or {}
        return sum(fields.pop(name, None) is not None for name in words[2:])

    def _hincrby(self, words: Sequence[bytes]) -> int:
        _, key, name, by = words
        fields = self.hash(key)
        n = int(fields.get(name, 0)) + int(by)
        fields[name] = b"%d" % n
        return n

    def _zadd(self, words: Sequence[bytes]) -> int:
        _, key, score, member = words
        fields: Any = self.hash(key)
        new = member not in fields
        fields[member] = float(score)
        return int(new)

    def _zrange(self, words: Sequence[bytes]) -> list[Any]:
        members = sorted((self.get(words[1]) or {}).items(), key=lambda item: (item[1], item[0]))
        if b"WITHSCORES" in words:
            return [x for name, score in members for x in (name, b"%d" % score)]
        return [name for name, _ in members]

    def _zremrangebyscore(self, words: Sequence[bytes]) -> int:
        low, high = float(words[2]), float(words[3])
        fields = self.get(words[1]) or {}
        gone = [name for name, score in fields.items() if low <= score <= high]
        for name in gone:
            del fields[name]
        return len(gone)

    def _scan(self, words: Sequence[bytes]) -> list[Any]:
        prefix = words[words.index(b"MATCH") + 1].removesuffix(b"*")
        return [b"0", [key for key in list(self._keys) if key.startswith(prefix) and self.get(key) is not None]]

    def _time(self, _: Sequence[bytes]) -> list[bytes]:
        seconds, micros = divmod(self.clock(), 1_000_000)
        return [b"%d" % seconds, b"%d" % micros]

    def _info(self, words: Sequence[bytes]) -> bytes:
        about = {
            "uptime_in_seconds": (self.clock() - self.started_us) // 1_000_000,
            "run_id": "0" * 40,
            "master_replid": self.name.decode(),
            "maxmemory": 0,
            "used_memory": 1,
        }
        return "\r\n".join(f"{name}:{value}" for name, value in about.items()).encode()

    def _eval(self, words: Sequence[bytes]) -> Any:
        n = int(words[2])
        keys = words[3 : 3 + n]
        if scripts.script_name(words[1]) != "write" and len({slot(key) for key in keys}) > 1:
            raise ResponseError(f"CROSSSLOT Keys in request don't hash to the same slot: {sorted(set(keys))}")
        self._dirty, self._master = False, self.master_of(keys[-1])
        try:
            return scripts.run(words[1], self.rewrite, keys, words[3 + n :], self.execute)
        finally:
            self._dirty, self._master = None, 0


def slot(key: bytes) -> bytes:
    """Return what the slot of a key is computed from: its hash tag, or the whole key.

    >>> slot(b"moved:{3}:order_book"), slot(b"order_book")
    (b'3', b'order_book')
    """
    _, _, rest = key.partition(b"{")
    tag, brace, _ = rest.partition(b"}")
    return tag if tag and brace else key


def _copy(value: Value) -> Any:
    if isinstance(value, Stream):
        return value.copy()
    return dict(value) if isinstance(value, dict) else value


_HANDLERS: dict[bytes, Callable[[Server, Sequence[bytes]], Any]] = {
    **stream_commands.HANDLERS,
    b"SET": Server._set,
    b"DEL": Server._del,
    b"EXPIRE": Server._expire,
    b"PEXPIRE": Server._expire,
    b"PTTL": Server._pttl,
    b"INCR": Server._incr,
    b"EXISTS": lambda server, words: sum(server.get(key) is not None for key in words[1:]),
    b"GET": lambda server, words: server.get(words[1]),
    b"MGET": lambda server, words: [server.get(key) for key in words[1:]],
    b"HSET": Server._hset,
    b"HSETNX": Server._hsetnx,
    b"HDEL": Server._hdel,
    b"HINCRBY": Server._hincrby,
    b"HGET": lambda server, words: (server.get(words[1]) or {}).get(words[2]),
    b"HEXISTS": lambda server, words: int(words[2] in (server.get(words[1]) or {})),
    b"HMGET": lambda server, words: [(server.get(words[1]) or {}).get(name) for name in words[2:]],
    b"HGETALL": lambda server, words: [x for pair in (server.get(words[1]) or {}).items() for x in pair],
    b"HSCAN": lambda server, words: [b"0", [x for pair in (server.get(words[1]) or {}).items() for x in pair]],
    b"HKEYS": lambda server, words: list(server.get(words[1]) or {}),
    b"HLEN": lambda server, words: len(server.get(words[1]) or {}),
    b"SCAN": Server._scan,
    b"OBJECT": lambda server, words: b"hashtable",
    b"ZADD": Server._zadd,
    b"ZREM": Server._hdel,
    b"ZRANGE": Server._zrange,
    b"ZREMRANGEBYSCORE": Server._zremrangebyscore,
    b"TIME": Server._time,
    b"INFO": Server._info,
    b"EVAL": Server._eval,
}
