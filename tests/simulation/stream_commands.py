"""The commands on streams of the simulated server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from tests.simulation import stream
from tests.simulation.stream import Group, Stream

if TYPE_CHECKING:
    from tests.simulation.server import Server


def xadd(server: Server, words: Sequence[bytes]) -> bytes:
    key = words[1]
    found = server.stream(key)
    first = words.index(b"*", 2)
    name = found.append(server.now_ms(), list(words[first + 1 :]))
    if words[2] == b"MAXLEN":
        trim(server, found, len(found.ids) - int(words[first - 1]))
    server.appended(key)
    return name


def trim(server: Server, found: Stream, most: int) -> int:
    """Drop some of the first entries: ``~`` lets the server choose how many."""
    return found.drop_first(server.rng.choice((0, most, most // 2))) if most > 0 and server.trims else 0


def xtrim(server: Server, words: Sequence[bytes]) -> int:
    found = server.stream(words[1])
    return trim(server, found, found.between(b"-", b"(" + words[-1])[1])


def xdel(server: Server, words: Sequence[bytes]) -> int:
    found = server.get(words[1])
    return sum(found.delete(name) for name in words[2:]) if found else 0


def xrange(server: Server, words: Sequence[bytes]) -> list[Any]:
    found = server.get(words[1])
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


def xread(server: Server, words: Sequence[bytes]) -> list[Any] | None:
    at = words.index(b"STREAMS") + 1
    n = (len(words) - at) // 2
    count = stream.words_after(words, b"COUNT")
    replies = []
    for key, position in zip(words[at : at + n], words[at + n :], strict=True):
        found = server.get(key)
        if found and (entries := found.behind(stream.parse(position), count)):
            replies.append([key, [stream.shown(entry) for entry in entries]])
    return replies or None


def group_of(server: Server, key: bytes, name: bytes) -> tuple[Stream, Group]:
    found = server.get(key)
    if found is None or name not in found.groups:
        raise ResponseError(f"NOGROUP No such key '{key.decode()}' or consumer group '{name.decode()}'")
    return found, found.groups[name]


def xreadgroup(server: Server, words: Sequence[bytes]) -> list[Any] | None:
    _, _, name, who = words[:4]
    at = words.index(b"STREAMS") + 1
    n = (len(words) - at) // 2
    count = stream.words_after(words, b"COUNT")
    replies = []
    for key, after in zip(words[at : at + n], words[at + n :], strict=True):
        entries = stream.read_group(*group_of(server, key, name), who, after, count, server.now_ms())
        if entries or after != b">":
            replies.append([key, entries])
    return replies or None


def xack(server: Server, words: Sequence[bytes]) -> int:
    found = server.get(words[1])
    group = found.groups.get(words[2]) if found else None
    return sum(group.pending.pop(stream.parse(i), None) is not None for i in words[3:]) if group else 0


def xgroup(server: Server, words: Sequence[bytes]) -> bytes:
    _, what, key, name, position, *options = words
    if what.upper() == b"SETID":
        found, group = group_of(server, key, name)
        group.last, group.read = stream.parse(position), stream.words_after(options, b"ENTRIESREAD")
        return b"OK"
    found = server.stream(key)
    if name in found.groups:
        raise ResponseError("BUSYGROUP Consumer Group name already exists")
    found.groups[name] = Group(stream.parse(position))
    return b"OK"


def xsetid(server: Server, words: Sequence[bytes]) -> bytes:
    found, last = server.stream(words[1]), stream.parse(words[2])
    if found.ids and last < found.ids[-1]:
        raise ResponseError("The ID specified in XSETID is smaller than the target stream top item")
    found.last = last
    return b"OK"


def xinfo(server: Server, words: Sequence[bytes]) -> list[Any]:
    found = server.get(words[2])
    if found is None:
        raise ResponseError("no such key")
    if words[1].upper() == b"GROUPS":
        return [stream.about_group(found, name, group) for name, group in found.groups.items()]
    ends = [stream.shown(found.entries[i]) if found.entries else None for i in (0, -1)]
    about = [b"length", len(found.ids), b"entries-added", found.added, b"last-generated-id", b"%d-%d" % found.last]
    return [*about, b"first-entry", ends[0], b"last-entry", ends[1]]


def xpending(server: Server, words: Sequence[bytes]) -> list[Any]:
    _, group = group_of(server, words[1], words[2])
    ids = sorted(group.pending)
    ends = [b"%d-%d" % ids[0], b"%d-%d" % ids[-1]] if ids else [None, None]
    return [len(ids), *ends, [] if ids else None]


HANDLERS: dict[bytes, Callable[[Server, Sequence[bytes]], Any]] = {
    b"XADD": xadd,
    b"XTRIM": xtrim,
    b"XDEL": xdel,
    b"XRANGE": xrange,
    b"XREAD": xread,
    b"XREADGROUP": xreadgroup,
    b"XACK": xack,
    b"XGROUP": xgroup,
    b"XINFO": xinfo,
    b"XPENDING": xpending,
    b"XREVRANGE": xrange,
    b"XSETID": xsetid,
    b"XLEN": lambda server, words: len(found.ids) if (found := server.get(words[1])) else 0,
}
