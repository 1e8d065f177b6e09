"""Entries for the streams: where each is placed, and where it is placed anew when the number of partitions was raised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from feature_repo.stores.scripts import read_script
from ingest.messages.decode import decode_entry, encode
from ingest.messages.header import Header
from ingest.messages.kinds import Clock, Message, Neighbour, SocialPost
from ingest.streams import keys
from ingest.streams.keys import SOCIAL, partition_of
from ingest.streams.move import Notes, Place

_OF_SEVERAL: dict[bytes, type[Clock | Neighbour]] = {b"clock": Clock, b"neighbour": Neighbour}
_APPEND = read_script(__file__, "append.lua")


def entries_of(kind: str, message: Message | SocialPost, partitions: int) -> list[tuple[Place, dict[bytes, bytes]]]:
    """Return the entries of a message: for each the place that it is appended to and its fields.

    A post goes to the stream of posts, a clock and a neighbour's row to the logs of their symbols, each with those that it has, anything
    else to the log of its symbol.
    """
    if isinstance(message, SocialPost):
        return [(SOCIAL, {b"data": encode(message)})]
    if not isinstance(message, (Clock, Neighbour)):
        return [(partition_of(message.symbol, partitions), {b"kind": kind.encode(), b"data": encode(message)})]
    names: dict[int, list[str]] = {}
    for name in message.symbols:
        names.setdefault(partition_of(name, partitions), []).append(name)
    return [
        (p, {b"kind": kind.encode(), b"data": encode(msgspec.structs.replace(message, symbols=of_log))})
        for p, of_log in names.items()
    ]


def words_of(fields: Mapping[bytes, bytes]) -> Sequence[Any]:
    """Return fields and values in turn."""
    return tuple(word for pair in fields.items() for word in pair)


def fields_of(words: Sequence[Any]) -> dict[Any, Any]:
    """Return the fields of an entry whose words these are."""
    return dict(zip(words[::2], words[1::2], strict=True))


def place_anew(entries: Mapping[Place, Sequence[Sequence[Any]]], partitions: int) -> dict[Place, list[Sequence[Any]]]:
    """Return entries of messages, as words by place, in the logs of their symbols by another number of partitions."""
    found: dict[Place, list[Sequence[Any]]] = {}
    for place, of_place in entries.items():
        for words in of_place:
            placed = _placed(words, partitions) if isinstance(place, int) else [(place, words)]
            for new, entry in placed:
                found.setdefault(new, []).append(entry)
    return found


def _placed(words: Sequence[Any], partitions: int) -> Iterable[tuple[Place, Sequence[Any]]]:
    fields = fields_of(words)
    kind = fields[b"kind"]
    if kind not in _OF_SEVERAL:
        return [(partition_of(decode_entry(Header, fields).symbol, partitions), words)]
    message = decode_entry(_OF_SEVERAL[kind], {b"data": fields[b"data"]})
    return [(place, words_of({**fields, **new})) for place, new in entries_of(kind.decode(), message, partitions)]


def notes_anew(notes: Mapping[Place, Notes], partitions: int) -> dict[Place, Notes]:
    """Return the notes of symbols, by place, in the partitions of the symbols by another number of partitions."""
    found: dict[Place, Notes] = {}
    for place, (key, texts) in notes.items():
        feed = key.partition("}:")[2]
        for symbol, text in texts.items():
            p = partition_of(symbol, partitions) if isinstance(place, int) else place
            of_place = found.setdefault(p, Notes(keys.last_trades(p, feed) if isinstance(p, int) else key, {}))
            found[p] = Notes(of_place.key, {**of_place.texts, symbol: text})
    return found


class Entry(NamedTuple):
    """What is appended to a stream: fields and values in turn, and an id where it keeps its own."""

    words: Sequence[Any]
    id: bytes = b"*"


def add_append(pipe: Any, place: Place, entries: Iterable[Entry], number: str) -> None:
    """Add to a pipeline what appends entries to the stream of a place; ``move.check_places`` looks at its reply."""
    sent = (word for entry in entries for word in (entry.id, len(entry.words), *entry.words))
    of_log = number if isinstance(place, int) else ""
    pipe.eval(_APPEND, 2, keys.stream(place), keys.number(place), of_log, *sent)
