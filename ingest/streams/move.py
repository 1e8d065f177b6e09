"""The one way into a log: a script in the slot of the target appends what lies behind the marker of its source, and moves the marker.

The router moves entries of the plain streams, the scorer posts, the Kafka feed records of topics, and live feeds append messages. Each
record has a source and a position there. The place that it enters keeps a marker for each source: ``moved:{place}:<source>``. One script a
place (``move.lua``) appends what lies behind the marker, so a record that is sent again, by anybody and however late, is left out. Only
afterwards the source is trimmed or acknowledged. Marker and records are lost together or not at all. So the marker tells which records a
failover has lost of a place, and a source that still has them gives them again.

No script touches two slots, so all of this works on Redis Cluster. A batch for several places is appended to some of them and not to others
when a process dies; then it is sent again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import redis

from feature_repo.stores.online.client import is_cluster
from feature_repo.stores.scripts import read_script
from ingest.messages.header import symbol_of
from ingest.messages.refusal import Reason, Refused
from ingest.streams import keys, replicas
from ingest.streams.dead_letters import FIELDS_MAX, dead_letter
from ingest.streams.membership import FencedError

Place = int | str
"""A partition, whose log is written, or a stream by its name (``keys.EDGE``, ``keys.SOCIAL``, ``keys.WRITTEN``)."""
Position = tuple[int, int]
"""Of a record in its source: it only grows. An entry id is such a pair; a plain number n is (n, 0)."""
START: Position = (0, 0)
FROM = b"_from"
"""The field of a post that says which record it was, as the stream of posts is itself a source. It is not part of the message."""

_MOVE = read_script(__file__, "move.lua")
_BEHIND = re.compile(r"BEHIND (\d+)-(\d+)").search


class Record(NamedTuple):
    """What becomes of a record at one place.

    Attributes
    ----------
    source : str
        The marker of this source decides. The name is ours, never a text of a stream.
    position : Position
        Records of one position and place must be in one batch.
    words : sequence
        Fields and values in turn.
    """

    source: str
    position: Position
    words: Sequence[Any]


class Step(NamedTuple):
    """What a batch does to the marker of a source, besides what its records do.

    Attributes
    ----------
    after : Position
        Where the marker is afterwards; it is never moved back.
    before : Position
        The marker must have reached this, else nothing changes.
    kept_ms : int
        The marker expires after so long without a batch; 0 keeps it for good.
    """

    source: str
    after: Position = START
    before: Position = START
    kept_ms: int = 0


class Notes(NamedTuple):
    """What a producer must know after a restart, in the hash ``key`` of the same slot; stored with the batch that it is of."""

    key: str
    texts: Mapping[str, bytes]


class Batch(NamedTuple):
    """What one script does at one place."""

    place: Place
    records: Sequence[Record]
    steps: Sequence[Step] = ()
    notes: Notes | None = None


class PlacesError(redis.ResponseError):
    """A log takes entries of another number of partitions: they are to be placed anew, by the number of today."""


class Behind(NamedTuple):
    """The place has a marker at ``position``, before the one that the batch asks for: it came back older, and nothing has changed."""

    position: Position


def partition_of(fields: Mapping[bytes, bytes], partitions: int) -> int:
    """Return the partition of the symbol that a message names.

    Raise ``Refused`` if the message has too many fields, cannot be decoded, or names no symbol.
    """
    if len(fields) > FIELDS_MAX:
        raise Refused(Reason.WRONG_TYPE, f"{len(fields)} fields")
    return keys.partition_of(symbol_of(fields), partitions)


def refused(source: str, entry_id: bytes | str, fields: Mapping[bytes, bytes], error: Exception) -> list[Any]:
    """Return the dead letter of a message, for the place ``keys.EDGE``.

    ``error`` is ``Refused``; any other error is the fault of our code, and the reason is ``failed``.
    """
    why = error if isinstance(error, Refused) else Refused(Reason.FAILED, f"{type(error).__name__}: {error}")
    return dead_letter(source, entry_id, fields, why.reason, why.detail)


def by_place(records: Iterable[tuple[Place, Record]]) -> dict[Place, list[Record]]:
    """Return the records of each place, in their order."""
    found: dict[Place, list[Record]] = {}
    for place, record in records:
        found.setdefault(place, []).append(record)
    return found


def append(
    client: redis.Redis, batches: Sequence[Batch], *, server: str = "", is_new: bool = False, number: str = ""
) -> list[int | Behind]:
    """Append batches, one script each; return for each how many of its records were appended now, or how far behind its place is.

    After any error send the same batches again: what was appended is left out then.

    Parameters
    ----------
    server : str
        The id of the Redis that the records were read from (``membership.server_id``). On Redis Cluster it is not compared: there the
        records come from another server than the one that is written to.
    is_new : bool
        Whether the records come from outside of Redis. A full Redis refuses those.
    number : str
        The number of partitions that the records were placed by (``Settings.number``).

    Raises
    ------
    FencedError
        This is another Redis than ``server``; at a place where that was found nothing has changed.
    NotReplicatedError
        Too few replicas have it.
    PlacesError
        A log takes records of another number of partitions; nothing has changed there.
    """
    if not batches:
        return []
    server = "" if is_cluster(client) else server
    pipe: Any = client.pipeline(transaction=False)
    for batch in batches:
        add_to(pipe, batch, server=server, is_new=is_new, number=number)
    replies = replicas.execute(client, pipe, (batch.place for batch in batches), raise_on_error=False)
    return [outcome(reply) for reply in replies]


def add_to(pipe: Any, batch: Batch, *, server: str = "", is_new: bool = False, number: str = "") -> None:
    """Add the script of a batch to a pipeline; its reply is for `outcome`."""
    place, records, steps, notes = batch
    known = {step.source: step for step in steps}
    newest = {source: step.after for source, step in known.items()}
    numbers = {source: b"%d" % number for number, source in enumerate(known, 1)}
    entries: list[Any] = []
    for source, position, words in _with_origin(records) if place == keys.SOCIAL else records:
        if source not in numbers:
            numbers[source], known[source], newest[source] = b"%d" % (len(numbers) + 1), Step(source), position
        elif position > newest[source]:
            newest[source] = position
        entries += (numbers[source], *position, len(words), *words)
    texts = notes.texts if notes else {}
    of_log = number if isinstance(place, int) else ""
    head: list[Any] = [server, of_log, int(is_new), int(place == keys.EDGE), len(texts), len(known)]
    for source, step in known.items():
        head += (*step.before, *newest[source], step.kept_ms)
    head += (word for note in texts.items() for word in note)
    markers = (keys.moved(place, source) for source in known)
    counters = keys.counters(place)
    touched = (keys.stream(place), keys.number(place), counters, notes.key if notes else counters, *markers)
    pipe.eval(_MOVE, len(touched), *touched, *head, *entries)


def _with_origin(records: Iterable[Record]) -> Iterator[Record]:
    """Yield posts with the field ``FROM``: where a failover has lost some, they come again as other entries, which the scorer moves on."""
    for (source, position), of_position in groupby(records, lambda record: record[:2]):
        for i, (*_, entry) in enumerate(of_position):
            yield Record(source, position, (*entry, FROM, f"{source}/{position[0]}-{position[1]}/{i}"))


def outcome(reply: Any) -> int | Behind:
    """Return what the reply to a script of `add_to` says; raise the error that it is."""
    if isinstance(reply, redis.ResponseError):
        if (found := _BEHIND(str(reply))) is not None:
            return Behind((int(found[1]), int(found[2])))
        if "OTHER SERVER" in str(reply):
            raise FencedError("Redis was replaced by another one")
        check_places(reply)
    if isinstance(reply, Exception):
        raise reply
    return int(reply)


def check_places(reply: Any) -> None:
    """Raise `PlacesError` where a reply says that a log takes entries of another number of partitions."""
    if isinstance(reply, redis.ResponseError) and "PARTITIONS" in str(reply):
        raise PlacesError("PARTITIONS are being raised, or were")


def markers(client: redis.Redis, places: Sequence[Place], sources: Sequence[str]) -> dict[Place, list[Position | None]]:
    """Return for each place the positions up to which it has the records of each source; None where it has no marker."""
    pipe: Any = client.pipeline(transaction=False)
    for place in places:
        pipe.mget([keys.moved(place, source) for source in sources])
    found = pipe.execute() if places and sources else [[] for _ in places]
    return {place: [_position(text) for text in of] for place, of in zip(places, found, strict=True)}


def _position(text: bytes | None) -> Position | None:
    if text is None:
        return None
    ms, _, n = text.partition(b"-")
    return int(ms), int(n)
