"""The simulated server: the commands that the parts use, on data that can be copied and put back.

It is held against the real server by ``test_server.py``. Time is ``clock``, in microseconds since the epoch; it may be set back.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import OutOfMemoryError, ResponseError

from tests.simulation import scripts, stream
from tests.simulation.stream import Group, Stream

Value = bytes | dict[bytes, bytes] | dict[bytes, float] | Stream
_NEEDS_MEMORY = frozenset({b"SET", b"INCR", b"HSET", b"HSETNX", b"HINCRBY", b"ZADD", b"XADD", b"XGROUP"})
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

    def __init__(self, clock: Callable[[], int], rng: random.Random) -> None:
        self.clock = clock
        self.full = False
        self.trims = True  # a real server drops whole nodes of its tree only, so nothing of a short stream
        self.started_us = clock()
        self.rewrite: Callable[[str], str] = lambda script: script
        self.watch: Callable[[bytes, dict[bytes, bytes], Sequence[bytes]], None] = lambda *_: None
        self.appended: Callable[[bytes], None] = lambda _: None
        self._rng = rng
        self._keys: dict[bytes, Value] = {}
        self._expires: dict[bytes, int] = {}
        self._gone: list[bytes] = []
        self._dirty: bool | None = None  # whether the script that runs has written; None outside of one

    def snapshot(self) -> tuple[dict[bytes, Value], dict[bytes, int]]:
        """Return all data as it is now."""
        return {key: _copy(value) for key, value in self._keys.items()}, dict(self._expires)

    def restore(self, snapshot: tuple[dict[bytes, Value], dict[bytes, int]]) -> None:
        """Put back what ``snapshot`` returned."""
        keys, expires = snapshot
        self._keys, self._expires = {key: _copy(value) for key, value in keys.items()}, dict(expires)
        self.started_us = self.clock()

    def execute(self, words: Sequence[bytes]) -> Any:
        """Run one command and return its reply, or raise the error that it is."""
        name = words[0].upper()
        if self.full and name in _NEEDS_MEMORY and not self._dirty:
            raise OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
        if self._dirty is False and name in _WRITES:
            self._dirty = True
        handler = _HANDLERS.get(name)
        if handler is None:
            raise ResponseError(f"unknown command {name!r}")
        return handler(self, words)

    def get(self, key: bytes) -> Any:
        """Return the value of a key, None where it is absent or has expired."""
        end = self._expires.get(key)
        if end is not None and self.clock() >= end:
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

    def _time(self, _: Sequence[bytes]) -> list[bytes]:
        seconds, micros = divmod(self.clock(), 1_000_000)
        return [b"%d" % seconds, b"%d" % micros]

    def _info(self, words: Sequence[bytes]) -> bytes:
        about = {
            "uptime_in_seconds": (self.clock() - self.started_us) // 1_000_000,
            "run_id": "0" * 40,
            "maxmemory": 0,
            "used_memory": 1,
        }
        return "\r\n".join(f"{name}:{value}" for name, value in about.items()).encode()

    def _xadd(self, words: Sequence[bytes]) -> bytes:
        key = words[1]
        found = self.stream(key)
        first = words.index(b"*", 2)
        name = found.append(self.now_ms(), list(words[first + 1 :]))
        if words[2] == b"MAXLEN":
            self._trim(found, len(found.ids) - int(words[first - 1]))
        self.appended(key)
        return name

    def _trim(self, found: Stream, most: int) -> int:
        """Drop some of the first entries: ``~`` lets the server choose how many."""
        return found.drop_first(self._rng.choice((0, most, most // 2))) if most > 0 and self.trims else 0

    def _xtrim(self, words: Sequence[bytes]) -> int:
        found = self.stream(words[1])
        return self._trim(found, found.between(b"-", b"(" + words[-1])[1])

    def _xdel(self, words: Sequence[bytes]) -> int:
        found = self.get(words[1])
        return sum(found.delete(name) for name in words[2:]) if found else 0

    def _xrange(self, words: Sequence[bytes]) -> list[Any]:
        found = self.get(words[1])
        if found is None:
            return []
        back = words[0].upper() == b"XREVRANGE"
        first, end = found.between(*(words[3:1:-1] if back else words[2:4]))
        entries = found.entries[first:end]
        if back:
            entries.reverse()
        if len(words) > 4:
            entries = entries[: int(words[5])]
        return [stream.shown(entry) for entry in entries]

    def _xread(self, words: Sequence[bytes]) -> list[Any] | None:
        at = words.index(b"STREAMS") + 1
        n = (len(words) - at) // 2
        count = stream.words_after(words, b"COUNT")
        replies = []
        for key, position in zip(words[at : at + n], words[at + n :], strict=True):
            found = self.get(key)
            if found and (entries := found.behind(stream.parse(position), count)):
                replies.append([key, [stream.shown(entry) for entry in entries]])
        return replies or None

    def _group(self, key: bytes, name: bytes) -> tuple[Stream, Group]:
        found = self.get(key)
        if found is None or name not in found.groups:
            raise ResponseError(f"NOGROUP No such key '{key.decode()}' or consumer group '{name.decode()}'")
        return found, found.groups[name]

    def _xreadgroup(self, words: Sequence[bytes]) -> list[Any] | None:
        _, _, name, who = words[:4]
        at = words.index(b"STREAMS") + 1
        n = (len(words) - at) // 2
        count = stream.words_after(words, b"COUNT")
        replies = []
        for key, after in zip(words[at : at + n], words[at + n :], strict=True):
            entries = stream.read_group(*self._group(key, name), who, after, count, self.now_ms())
            if entries or after != b">":
                replies.append([key, entries])
        return replies or None

    def _xack(self, words: Sequence[bytes]) -> int:
        found = self.get(words[1])
        group = found.groups.get(words[2]) if found else None
        return sum(group.pending.pop(stream.parse(i), None) is not None for i in words[3:]) if group else 0

    def _xautoclaim(self, words: Sequence[bytes]) -> list[Any]:
        _, key, name, who, idle_ms = words[:5]
        count = stream.words_after(words, b"COUNT")
        return stream.auto_claim(*self._group(key, name), who, int(idle_ms), count, self.now_ms())

    def _xgroup(self, words: Sequence[bytes]) -> bytes:
        _, what, key, name, position, *options = words
        if what.upper() == b"SETID":
            found, group = self._group(key, name)
            group.last, group.read = stream.parse(position), stream.words_after(options, b"ENTRIESREAD")
            return b"OK"
        found = self.stream(key)
        if name in found.groups:
            raise ResponseError("BUSYGROUP Consumer Group name already exists")
        found.groups[name] = Group(stream.parse(position))
        return b"OK"

    def _xinfo(self, words: Sequence[bytes]) -> list[Any]:
        found = self.get(words[2])
        if found is None:
            raise ResponseError("no such key")
        if words[1].upper() == b"GROUPS":
            return [stream.about_group(found, name, group) for name, group in found.groups.items()]
        ends = [stream.shown(found.entries[i]) if found.entries else None for i in (0, -1)]
        about = [b"length", len(found.ids), b"entries-added", found.added, b"last-generated-id", b"%d-%d" % found.last]
        return [*about, b"first-entry", ends[0], b"last-entry", ends[1]]

    def _xpending(self, words: Sequence[bytes]) -> list[Any]:
        _, group = self._group(words[1], words[2])
        ids = sorted(group.pending)
        ends = [b"%d-%d" % ids[0], b"%d-%d" % ids[-1]] if ids else [None, None]
        return [len(ids), *ends, [] if ids else None]

    def _eval(self, words: Sequence[bytes]) -> Any:
        n = int(words[2])
        script = self.rewrite(words[1].decode())
        self._dirty = False
        try:
            return scripts.run(script, words[3 : 3 + n], words[3 + n :], self.execute)
        finally:
            self._dirty = None


def _copy(value: Value) -> Any:
    if isinstance(value, Stream):
        return value.copy()
    return dict(value) if isinstance(value, dict) else value


_HANDLERS: dict[bytes, Callable[[Server, Sequence[bytes]], Any]] = {
    b"SET": Server._set,
    b"DEL": Server._del,
    b"EXPIRE": Server._expire,
    b"PEXPIRE": Server._expire,
    b"PTTL": Server._pttl,
    b"INCR": Server._incr,
    b"GET": lambda server, words: server.get(words[1]),
    b"MGET": lambda server, words: [server.get(key) for key in words[1:]],
    b"HSET": Server._hset,
    b"HSETNX": Server._hsetnx,
    b"HDEL": Server._hdel,
    b"HINCRBY": Server._hincrby,
    b"HGET": lambda server, words: (server.get(words[1]) or {}).get(words[2]),
    b"HMGET": lambda server, words: [(server.get(words[1]) or {}).get(name) for name in words[2:]],
    b"HGETALL": lambda server, words: [x for pair in (server.get(words[1]) or {}).items() for x in pair],
    b"HSCAN": lambda server, words: [b"0", [x for pair in (server.get(words[1]) or {}).items() for x in pair]],
    b"HLEN": lambda server, words: len(server.get(words[1]) or {}),
    b"OBJECT": lambda server, words: b"hashtable",
    b"ZADD": Server._zadd,
    b"ZREM": Server._hdel,
    b"ZRANGE": Server._zrange,
    b"ZREMRANGEBYSCORE": Server._zremrangebyscore,
    b"TIME": Server._time,
    b"INFO": Server._info,
    b"XADD": Server._xadd,
    b"XTRIM": Server._xtrim,
    b"XDEL": Server._xdel,
    b"XLEN": lambda server, words: len(found.ids) if (found := server.get(words[1])) else 0,
    b"XRANGE": Server._xrange,
    b"XREVRANGE": Server._xrange,
    b"XREAD": Server._xread,
    b"XREADGROUP": Server._xreadgroup,
    b"XACK": Server._xack,
    b"XAUTOCLAIM": Server._xautoclaim,
    b"XGROUP": Server._xgroup,
    b"XINFO": Server._xinfo,
    b"XPENDING": Server._xpending,
    b"EVAL": Server._eval,
}
