"""The router: it moves entries of the plain streams into the partition logs, for producers that do not know the partitions.

Entries of the plain streams but ``social_data`` are merged by id, also after a pause in which more of them gathered than one read gives,
and within a millisecond by event time. Only symbol and time are decoded here; the worker checks the rest. The script in ``streams.move``
moves each entry once, even with several routers: a batch has every entry of each stream up to its last one that was not moved before, so
what lies behind the marker of a log is new there. To read each entry once too, only the holder of the router's seat moves; every other
router stands by.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from functools import partial

import redis

from ingest.messages.decode import decode_entry
from ingest.messages.kinds import PLAIN_STREAM, Tick, time_us
from ingest.messages.refusal import Refused
from ingest.streams import keys, outage, read, replicas
from ingest.streams.cluster import Cluster
from ingest.streams.membership import FencedError, Member, server_of
from ingest.streams.move import (
    START,
    Batch,
    Behind,
    Place,
    Position,
    Record,
    Step,
    append,
    by_place,
    markers,
    partition_of,
    refused,
)

ROLE = "router"
BATCH = 1000
BLOCK_MS = 20
KEPT = 1000
"""Batches of a place, of each stream, whose sizes a router remembers; at 50 a second those of 20 s at least."""
_LOG = logging.getLogger(__name__)


def run(client: redis.Redis, partitions: int, stop: threading.Event, number: str = "") -> None:
    """Move entries until ``stop`` is set; stand by while another router moves, and wait while Redis is away."""
    member = Member(client, ROLE, [ROLE])
    router = Router(client, partitions, number)
    waiting = dict.fromkeys(PLAIN_STREAM, read.START)  # what is moved is deleted, so the first entry is always the next

    def work(well: Callable[[], None]) -> None:
        count = read.FIRST
        for token in member.hold_until(stop):  # 1. Hold the seat, or stand by.
            try:
                # 2. Read the plain streams from their first entries.
                until_ms = client.settled_ms() if isinstance(client, Cluster) else None
                found = sure(client, read.entries_after(client, waiting, count, BLOCK_MS))
                # 3. Put them in order, as far as it is known.
                parts = read.split_by_size(read.in_order(found, count, BATCH, until_ms))
                for part in parts:
                    router.move(read.by_time(part, _time_us), server_of(token))  # 4. Append them, then delete them.
                count = read.next_count(count, len(parts), BATCH)
            except FencedError:  # 5. Where Redis is another one, hold the seat there first.
                member.lose(ROLE)
            well()

    outage.ride_out("the router", work, stop)


def sure(client: redis.Redis, entries: Sequence[read.Entry]) -> Sequence[read.Entry]:
    """Return entries of the plain streams once replicas have them, where these are waited for; none where a failover has lost some.

    Their producer was not acknowledged what is lost, and appends it again as other entries: what was moved already would be there twice.
    """
    if not entries or not replicas.number(client):
        return entries
    last = {name: entry_id for name, entry_id, _ in entries}
    replicas.confirm(client, last)
    pipe = client.pipeline(transaction=False)
    for name, entry_id in last.items():
        pipe.xrange(name, entry_id, entry_id)
    return entries if all(pipe.execute()) else []


class Router:
    """Moves entries, and tells what a log has lost that they are gone from. ``number`` is that of ``streams.move.append``."""

    def __init__(self, client: redis.Redis, partitions: int, number: str = "") -> None:
        self._client = client
        self._partitions = partitions
        self._number = number
        self._at: dict[tuple[Place, str], Position] = {}  # where the markers are, as this router put them
        self._moved: defaultdict[Place, deque[tuple[str, Position, int]]] = defaultdict(partial(deque, maxlen=KEPT))

    def move(self, entries: Sequence[read.Entry], server: str = "") -> int:
        """Append entries to the logs in their order, and delete them; return how many were not there before.

        Parameters
        ----------
        server : str
            The id of the Redis that they were read from.

        Raises
        ------
        FencedError
            This is another Redis.
        """
        batches = [
            Batch(place, records, [Step(name, before=self._at.get((place, name), START)) for name in PLAIN_STREAM])
            for place, records in by_place(_record(*entry, self._partitions) for entry in entries).items()
        ]
        moved = 0
        for batch, found in zip(
            batches, append(self._client, batches, server=server, number=self._number), strict=True
        ):
            if isinstance(found, Behind):
                self._tell(batch.place)
                [found] = append(self._client, [batch._replace(steps=())], server=server, number=self._number)
            moved += found if isinstance(found, int) else 0
            newest = {source: position for source, position, _ in batch.records}
            self._at |= {(batch.place, source): position for source, position in newest.items()}
            sizes = Counter(record.source for record in batch.records)
            self._moved[batch.place].extend((source, position, sizes[source]) for source, position in newest.items())
        ids: dict[str, list[bytes]] = {}
        for name, entry_id, _ in entries:
            ids.setdefault(name, []).append(entry_id)
        pipe = self._client.pipeline(transaction=False)
        for name, of_stream in ids.items():
            pipe.xdel(name, *of_stream)
        pipe.execute()
        return moved

    def _tell(self, place: Place) -> None:
        """Tell how many entries a place has lost, and go on from what it has."""
        [found] = markers(self._client, [place], list(PLAIN_STREAM)).values()
        there = {source: position or START for source, position in zip(PLAIN_STREAM, found, strict=True)}
        self._at |= {(place, source): position for source, position in there.items()}
        moved, lost = self._moved[place], Counter[str]()
        for source, position, n in moved:
            lost[source] += n if position > there[source] else 0
        told = ", ".join(f"{n} entries of {source}" for source, n in lost.items() if n)
        at_least = "at least " if len(moved) == KEPT and moved[0][1] > there[moved[0][0]] else ""
        _LOG.error(
            "%s came back older: %s%s that were moved there are lost, unless they are where they came from again",
            keys.stream(place), at_least, told,
        )  # fmt: skip
        moved.clear()


def _time_us(fields: read.Fields) -> int:
    """Return the event time of a message; 0 where it has none, because the worker refuses it wherever it stands."""
    try:
        return time_us(decode_entry(Tick, fields))
    except Refused:
        return 0


def _record(name: str, entry_id: bytes, fields: read.Fields, partitions: int) -> tuple[Place, Record]:
    position = read.id_numbers(entry_id)
    try:
        place = partition_of(fields, partitions)
    except Exception as error:  # one entry must not stop the router, whatever is wrong with it
        return keys.EDGE, Record(name, position, refused(name, entry_id, fields, error))
    moved = {**fields, b"kind": PLAIN_STREAM[name]}
    return place, Record(name, position, [word for pair in moved.items() for word in pair])
