"""Dead letters: keeping refused messages, reading them, and putting one back after its cause is mended.

What a worker refuses is kept beside its log, in ``dead_letter:{p}``, by the script of its commit. What is refused before any log is in
``dead_letter``. Letters are read from all of these in the order of their ids. As two streams may give the same id, the id of a letter of
partition p ends with ``@p``.

A retry is one script. It appends the message's fields, byte for byte as they were kept, to the stream that they came from, and marks the
letter beside that. So a letter is put back once, however many ask for it and however often. The letter itself stays.
"""

from __future__ import annotations

import contextlib
import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import redis
from msgspec import msgpack

from feature_repo.stores.errors import UserError
from feature_repo.stores.scripts import read_script
from ingest.messages.header import symbol_of
from ingest.messages.kinds import PLAIN_STREAM
from ingest.messages.refusal import Refused
from ingest.streams import keys, replicas

RETRIED_BEFORE = "dead_letter:retried"  # the hash of all letters that the release before has put back
PAGE = 500  # letters to read at once
ID = re.compile(r"(\d{1,20}-\d{1,20})(?:@(\d{1,9}))?\Z").match
FIELD = b"field:"  # before the name of each field of the message
MANY = b"fields"  # the name of the field that holds a message of more than `FIELDS_MAX` fields, as MessagePack

_RETRY = read_script(__file__, "retry.lua")
FIELDS_MAX = 16  # fields of a message that a letter keeps apart; no message that is accepted has as many
DETAIL_MAX = 200


def dead_letter(
    source: str, entry_id: bytes | str, fields: Mapping[bytes, bytes], reason: str, detail: str
) -> list[Any]:
    """Return a letter as fields and values in turn: reason, detail, source, id, and each field of the message as ``field:<name>``.

    ``streams.move`` counts a letter by its reason, so the reason stands first. A message of more than ``FIELDS_MAX`` fields is kept in one
    field ``fields``, as MessagePack: a script has a limit of arguments, and one message must not stop it.
    """
    letter: list[Any] = ["reason", reason, "detail", detail[:DETAIL_MAX], "source", source, "id", entry_id]
    if len(fields) > FIELDS_MAX:
        return [*letter, MANY, msgpack.encode(list(fields.items()))]
    for name, value in fields.items():
        letter += (FIELD + name, value)
    return letter


def refuse(
    client: Any,
    source: str,
    fields: Mapping[bytes, bytes],
    reason: str,
    detail: str,
    entry_id: bytes | str = b"",
    place: int | str = keys.EDGE,
) -> None:
    """Keep and count a message that never reached a log, or was of no use behind one. ``client`` may be a pipeline."""
    client.execute_command("XADD", keys.letters(place), "*", *dead_letter(source, entry_id, fields, reason, detail))
    client.hincrby(keys.counters(place), f"refused.{reason}", 1)


class RetryError(UserError, ValueError):
    """A letter cannot be put back; the message says why."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A refused message.

    Attributes
    ----------
    id : str
        Of the letter.
    reason, detail : str, bytes
        Why the message was refused.
    source, origin : bytes
        The stream that the message came from and its id there, or a file and a line.
    fields : tuple of (bytes, bytes)
        The message as it came: its fields in order.
    retried : str
        The entry that it became, ``<stream> <id>``; empty where it was not put back.
    """

    id: str
    reason: str
    detail: bytes
    source: bytes
    origin: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    retried: str = ""


def newest(
    client: redis.Redis, partitions: int, *, count: int | None = None, reason: str | None = None, number: str = ""
) -> Iterator[Letter]:
    """Return letters, newest first; all of them where ``count`` is None. ``number`` is ``Settings.number``."""

    def of_stream(key: str) -> Iterator[Letter]:
        return _read(client, key, lambda last: client.xrevrange(key, max=last, count=PAGE), "+", reason, number)

    found = heapq.merge(*map(of_stream, keys.letter_streams(partitions)), key=_id, reverse=True)
    return islice(found, None if count is None else max(count, 0))


def oldest(client: redis.Redis, partitions: int, *, reason: str | None = None, number: str = "") -> Iterator[Letter]:
    """Return letters in the order of their refusal, up to the newest one of each stream at the start."""

    def of_stream(key: str) -> Iterator[Letter]:
        last: Any = client.xrevrange(key, count=1)
        if not last:
            return iter(())
        end = last[0][0]
        return _read(client, key, lambda first: client.xrange(key, min=first, max=end, count=PAGE), "-", reason, number)

    return heapq.merge(*map(of_stream, keys.letter_streams(partitions)), key=_id)


def kept(client: redis.Redis, partitions: int) -> int:
    """Return how many letters are kept."""
    pipe: Any = client.pipeline(transaction=False)
    for key in keys.letter_streams(partitions):
        pipe.xlen(key)
    return sum(pipe.execute())


def _id(letter: Letter) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", letter.id)))


def _read(
    client: redis.Redis, stream: str, read_page: Callable[[str], Any], start: str, reason: str | None, number: str
) -> Iterator[Letter]:
    """Yield the letters of a reason, or all, page by page from ``start``."""
    position = start
    while page := read_page(position):
        yield from (
            letter for letter in _letters(client, stream, page, number) if reason is None or letter.reason == reason
        )
        position = "(" + page[-1][0].decode()


def one(client: redis.Redis, letter_id: str, number: str = "") -> Letter | None:
    """Return the letter of that id."""
    if (found := ID(letter_id)) is None:
        return None
    entry_id, p = found.groups()
    stream = keys.letters(keys.EDGE if p is None else int(p))
    page: Any = client.xrange(stream, min=entry_id, max=entry_id)
    return next(iter(_letters(client, stream, page, number)), None)


def _letters(
    client: redis.Redis, stream: str, page: list[tuple[bytes, dict[bytes, bytes]]], number: str
) -> Iterator[Letter]:
    place = keys.place_of(stream)
    names = [entry_id.decode() + (f"@{place}" if isinstance(place, int) else "") for entry_id, _ in page]
    messages = [_fields(fields) for _, fields in page]
    pipe: Any = client.pipeline(transaction=False)
    for name, (_, fields), message in zip(names, page, messages, strict=True):
        pipe.hget(keys.retried(_target(fields.get(b"source", b""), message, number)), name)
    if place == keys.EDGE:
        pipe.hmget(RETRIED_BEFORE, names or [""])
    marks = pipe.execute()
    before = marks.pop() if place == keys.EDGE else [None] * len(names)
    for name, (_, fields), message, mark, mark_before in zip(names, page, messages, marks, before, strict=bool(names)):
        yield Letter(
            name,
            fields.get(b"reason", b"").decode(errors="replace"),
            fields.get(b"detail", b""),
            fields.get(b"source", b""),
            fields.get(b"id", b""),
            message,
            (mark or mark_before or b"").decode(errors="replace"),
        )


def _target(source: bytes, fields: Iterable[tuple[bytes, bytes]], number: str) -> int | str:
    """Return the place that a message is put back into: the one that it came from, or where that was divided, the log of its symbol."""
    place = keys.place_of(source.decode(errors="replace"))
    if number and isinstance(place, int) and source == keys.events(place).encode():
        with contextlib.suppress(Refused):  # then it is refused again, wherever it stands
            return keys.partition_of(symbol_of(dict(fields)), int(number))
    return place


def _fields(letter: dict[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    if MANY in letter:
        return tuple((name, value) for name, value in msgpack.decode(letter[MANY]))
    return tuple((name[len(FIELD) :], value) for name, value in letter.items() if name.startswith(FIELD))


def retry(client: redis.Redis, letter: Letter, partitions: int, number: str = "") -> tuple[bool, str]:
    """Put a letter's message back into its stream, unless it was put back before. ``number`` is ``Settings.number``.

    Return whether it was put back now, and the stream and id of the entry. Raise ``RetryError`` if the message came from no stream of
    this deployment, or has no fields or too many.
    """
    of_partitions = (name(p) for p in range(partitions) for name in (keys.events, keys.outbox))
    streams = {*PLAIN_STREAM, keys.SOCIAL, *of_partitions}
    source = letter.source.decode(errors="replace")
    if source not in streams:
        raise RetryError(f"{letter.id} came from {shown(letter.source, 80)}, which is no stream of this deployment")
    if not letter.fields:
        raise RetryError(f"{letter.id} has no fields")
    if len(letter.fields) > FIELDS_MAX:
        raise RetryError(f"{letter.id} has {len(letter.fields):,} fields; no message that is accepted has as many")
    if letter.retried:
        return False, letter.retried
    words = (word for pair in letter.fields for word in pair)
    place = _target(letter.source, letter.fields, number)
    is_log = isinstance(place, int) and source.startswith("events")
    target = keys.stream(place) if is_log else source
    touched = (target, keys.retried(place), *((keys.number(place),) if is_log else ()))
    pipe: Any = client.pipeline(transaction=False)
    pipe.eval(_RETRY, len(touched), *touched, letter.id, number if is_log else "", *words)
    try:
        [reply] = replicas.execute(client, pipe, [place])
    except redis.ResponseError as error:
        if "PARTITIONS" not in str(error):
            raise
        raise RetryError(
            f"{letter.id} waits: the number of partitions is being raised; put it back when that is done"
        ) from error
    is_new, text = reply
    return is_new == 1, text.decode(errors="replace")


def shown(raw: bytes | str, most: int) -> str:
    r"""Return bytes as printable ASCII for a terminal, everything else escaped, cut to ``most`` characters.

    >>> shown(b"a\x1b[2J\xff" + "\u202eé".encode(), 60)
    'a\\x1b[2J\\xff\\xe2\\x80\\xae\\xc3\\xa9'
    >>> shown("x" * 9, 4)
    'xxxx...'
    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    text = "".join(chr(b) if 32 <= b < 127 else f"\\x{b:02x}" for b in data[: most + 1])
    return text[:most] + "..." if len(text) > most else text
