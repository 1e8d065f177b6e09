"""Topics of Kafka into the partition logs and the stream of posts, each record exactly once.

How far the records of a topic are moved stands beside each log, and nowhere else (``move``). The script that appends records to a log
moves the offset with them. So each record is moved once, whichever side is killed or restored from an older copy. Only the symbol is
decoded here; the worker checks the rest. A second process for the same topics stands by.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from feature_repo.stores.errors import UserError
from ingest.feeds.kafka.move import OffsetsChangedError, begin_at, move, offsets
from ingest.feeds.kafka.reader import Reader
from ingest.feeds.kafka.source import DEFAULTS, OURS, Place, Source, place_name
from ingest.publish.counts import Counts
from ingest.publish.readers import Readers
from ingest.streams import outage
from ingest.streams.membership import Member

_LOG = logging.getLogger(__name__)
POLL_S = 0.02
ASK_S = 5.0  # how long Kafka may take to answer a question
LOOK_S = 10.0  # between two looks for partitions that were added
KEPT_S = 0.2  # between two looks whether Redis has lost offsets: their records must come before time passes for quiet symbols
CROWDED_S = 0.5  # between two looks at how many entries wait in the logs
LOG_S = 60.0  # between two lines of the log about the same trouble
CLUSTER = "cluster"  # the field of the offsets that holds the id of their cluster
_UNKNOWN_TOPIC = (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART)
_PASSING = (
    *_UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError._MAX_POLL_EXCEEDED,
)


class OffsetsError(UserError, RuntimeError):
    """The offsets that are kept do not fit what Kafka holds; the message says what to do."""


def run(
    client: redis.Redis,
    source: Source,
    partitions: int,
    stop: threading.Event,
    progress: Callable[[Counts], None] | None = None,
    *,
    counts: Counts | None = None,
    number: str = "",
) -> Counts:
    """Move records until ``stop`` is set; stand by while another process moves, and wait while Redis or Kafka is away.

    Raise ``OffsetsError`` if the offsets are of another cluster or lie behind the end of their partition, and ``KafkaException`` if Kafka
    denies access or an option is wrong. What is moved is counted in ``counts``; ``number`` is that of ``streams.move.append``.
    """
    counts = counts or Counts()
    member = Member(client, source.seat, [source.seat])

    def work(well: Callable[[], None]) -> None:
        def turn() -> None:
            well()
            if progress is not None:
                progress(counts)

        for _ in member.hold_until(stop):  # 1. Hold the seat, or stand by.
            try:
                _read_and_move(client, source, partitions, stop, member, counts, turn, number)
            except OffsetsChangedError:
                _LOG.warning("Redis came back older: reading begins again behind what it has")

    outage.ride_out("the Kafka feed", work, stop, _is_passing)
    return counts


def _is_passing(error: Exception) -> bool:
    if isinstance(error, KafkaException):
        what: KafkaError = error.args[0]
        return what.retriable() or what.code() in _PASSING
    return outage.is_passing(error)


def _read_and_move(
    client: redis.Redis,
    source: Source,
    partitions: int,
    stop: threading.Event,
    member: Member,
    counts: Counts,
    turn: Callable[[], None],
    number: str,
) -> None:
    """Read and move until the seat is lost, partitions were added, a place has older offsets, or ``stop`` is set.

    A move finds older offsets too. But after a Redis that came back older, no record may come for long.
    """
    with _open_consumer(source) as consumer:
        known = _places(consumer, source)
        at, first = _begin(client, consumer, source, partitions, known)  # 2. Begin at the smallest offset of any place.
        reader, readers = Reader(consumer, first), Readers(client, partitions)
        looked = compared = waited = time.monotonic()
        crowded = False
        while not stop.is_set() and member.hold_seat() is not None:
            now = time.monotonic()
            if now - waited >= CROWDED_S:
                waited, crowded = now, readers.is_crowded()
            if crowded:  # 3. Wait while the worker is far behind.
                stop.wait(POLL_S)
                continue
            reader.poll(POLL_S)  # 4. Read, and put the records of all partitions in order.
            if batch := reader.next_batch():
                move(client, source, partitions, batch, at, counts, number)  # 5. Append them, with the offsets.
            turn()
            # 6. Begin again where Kafka has other partitions, or Redis older offsets.
            if now - looked >= LOOK_S:
                looked = now
                if _places(consumer, source) != known:
                    return
            if now - compared >= KEPT_S:
                compared = now
                if not _are_kept(client, source, partitions, at):
                    return


def _are_kept(client: redis.Redis, source: Source, partitions: int, at: Mapping[Place, int]) -> bool:
    """Return whether no place has an older offset than this process is at."""
    kept = offsets(client, source, partitions, list(at))
    return all(one is not None and one >= at[place] for place, of in kept.items() for one in of)


@contextlib.contextmanager
def _open_consumer(source: Source) -> Iterator[Any]:
    logged: dict[int, float] = {}

    def on_error(error: KafkaError) -> None:
        """Raise what waiting does not mend, out of the call that serves the callback; log the rest, each trouble now and then."""
        if error.fatal() or error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            raise KafkaException(error)
        now = time.monotonic()
        if now - logged.get(error.code(), -LOG_S) >= LOG_S:
            logged[error.code()] = now
            _LOG.warning("Kafka does not answer and is asked again: %s", error.str()[:200])

    own = {"bootstrap.servers": source.brokers, "group.id": source.seat, "error_cb": on_error}
    consumer = Consumer({**DEFAULTS, **source.options, **OURS, **own}, logger=_LOG)
    try:
        yield consumer
    finally:
        consumer.close()


def _places(consumer: Any, source: Source) -> list[Place]:
    """Return the partitions of those topics that exist."""
    found = []
    for topic in source.topics:
        try:
            about = consumer.list_topics(topic, timeout=ASK_S).topics[topic]
        except KafkaException:
            consumer.poll(0)  # only the error callback knows why Kafka did not answer
            raise
        if about.error is None:
            found += [(topic, n) for n in about.partitions]
        elif about.error.code() not in _UNKNOWN_TOPIC:
            raise KafkaException(about.error)
    return sorted(found)


def _older() -> redis.ConnectionError:
    """Return an error of a connection, after which the reader begins again."""
    return redis.ConnectionError("Redis came back older while offsets were noted")


def _noted(noted: Mapping[bytes, bytes], name: str) -> bytes:
    """Return a value that was noted in Redis just before."""
    if name.encode() not in noted:
        raise _older()
    return noted[name.encode()]


def _begin(
    client: redis.Redis, consumer: Any, source: Source, partitions: int, places: Sequence[Place]
) -> tuple[dict[Place, int], dict[Place, int]]:
    """Return the offset up to which every place has the records, and the one to read first; note new partitions of topics in Redis."""
    cluster = consumer.list_topics(timeout=ASK_S).cluster_id or ""
    client.hsetnx(source.first, CLUSTER, cluster)
    ends = {place: consumer.get_watermark_offsets(TopicPartition(*place), timeout=ASK_S) for place in places}
    for place, (low, high) in ends.items():
        client.hsetnx(source.first, place_name(place), high if source.from_end else low)
    noted: Any = client.hgetall(source.first)
    if _noted(noted, CLUSTER) != cluster.encode():
        raise OffsetsError(f"the offsets in {source.first} are of another Kafka cluster; give this one another name")
    begin_at(client, source, partitions, {place: int(_noted(noted, place_name(place))) for place in places})
    at, first = {}, {}
    for place, of_places in offsets(client, source, partitions, places).items():
        (low, high), name = ends[place], place_name(place)
        if None in of_places:
            raise _older()
        at[place] = min(offset for offset in of_places if offset is not None)
        first[place] = max(at[place], low)
        if at[place] > high:
            raise OffsetsError(
                f"{name} ends at {high} and was read up to {at[place]}: the topic was made anew; leave it out here, and read it by a feed "
                "of its own with another --name"
            )
        if at[place] < low:
            _LOG.error("%d records of %s were deleted by Kafka before they were read", low - at[place], name)
    if not places:
        _LOG.warning("Kafka has no topic %s yet", ", ".join(source.topics))
    return at, first
