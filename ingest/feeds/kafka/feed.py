"""Topics of Kafka into the partition logs and the stream of posts, each record exactly once.

The offsets are kept in Redis, in a hash, and nowhere else: the script that appends records to the logs moves the offsets with them, if
the seat is still this process's and the offsets are those that the records began at. So whatever dies, and whatever comes back older than
it was, a record is moved once. Only the symbol is read here; the worker checks the rest. A second process for the same topics stands by.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from feature_repo.stores.errors import UserError
from ingest.feeds.kafka.move import move, name_of, offsets
from ingest.feeds.kafka.reader import Place, Reader
from ingest.messages.kinds import PLAIN_STREAM
from ingest.publish.counts import Counts
from ingest.publish.readers import Readers
from ingest.streams import keys, outage
from ingest.streams.membership import FencedError, Member
from ingest.streams.move import OffsetsChangedError

_LOG = logging.getLogger(__name__)
STREAMS = (*PLAIN_STREAM, keys.SOCIAL)
"""What a topic may hold, by the name of the stream of the same messages."""
POLL_S, STAND_BY_S = 0.02, 0.1
ASK_S = 5.0
"""How long Kafka may take to answer a question."""
LOOK_S, WAITING_S = 10.0, 0.5
"""Between two looks for partitions that were added, and for how many entries wait in the logs."""
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z").match
CLUSTER = "cluster"
TELL_S = 60.0
"""Between two lines of the log of the same trouble."""

OURS = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",  # whether a gap is one is decided here, not skipped in silence
}
"""What may not be configured otherwise."""
DEFAULTS = {
    "client.id": "tfs",
    "log_level": 2,  # a line for every attempt would fill a disk; see TELL_S
    "fetch.wait.max.ms": 50,
    "reconnect.backoff.max.ms": 1000,
    "queued.max.messages.kbytes": 16384,
}


class OffsetsError(UserError, RuntimeError):
    """The offsets that are kept do not fit what Kafka holds; the message says what to do."""


@dataclass(frozen=True, repr=False)
class Source:
    """What to read.

    Attributes
    ----------
    brokers:
        ``host:port``, comma-separated.
    topics:
        The stream of each topic: ``order_book``, ``market_data`` or ``social_data``.
    name:
        Under which the offsets are kept: feeds of other topics need another.
    from_end:
        Where nothing is known of a partition yet: begin with what comes from now on, not with the oldest record.
    options:
        Of librdkafka besides, such as passwords.
    """

    brokers: str
    topics: Mapping[str, str] = field(default_factory=lambda: {name: name for name in STREAMS})
    name: str = "kafka"
    from_end: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not NAME(self.name):
            raise UserError("the name must be 1 to 64 letters, digits and . _ -")
        if unknown := sorted(set(self.topics.values()) - set(STREAMS)):
            raise UserError(f"no stream {', '.join(unknown)}; streams are {', '.join(STREAMS)}")
        if ours := sorted({*OURS, "group.id", "bootstrap.servers"} & set(self.options)):
            raise UserError(f"{', '.join(ours)} cannot be configured: exactly once depends on it")

    @property
    def seat(self) -> str:
        """The seat of whoever reads; also the role of those who stand by."""
        return f"kafka.{self.name}" if self.name != "kafka" else self.name


def run(
    client: redis.Redis,
    source: Source,
    partitions: int,
    stop: threading.Event,
    progress: Callable[[Counts], None] | None = None,
) -> Counts:
    """Move records until ``stop`` is set, or stand by while another process does; lives through the loss of Redis and of Kafka.

    Returns
    -------
    Counts
        What was published, by kind, and refused, by reason.

    Raises
    ------
    OffsetsError
        The offsets are of another cluster, or lie behind the end of their partition.
    KafkaException
        Kafka lets us not in, or a configuration that cannot be.
    """
    member = Member(client, source.seat, [source.seat])
    counts = Counts()

    def work(well: Callable[[], None]) -> None:
        while not stop.is_set():
            if member.sit() is None:
                stop.wait(STAND_BY_S)
                continue
            try:
                _carry(client, source, partitions, stop, member, counts, lambda: _tell(well, progress, counts))
            except FencedError:
                member.lose(source.seat)
            except OffsetsChangedError:
                _LOG.warning("the offsets in Redis have changed: reading begins again at what they say")
        member.leave()

    outage.ride_out("the Kafka feed", work, stop, _passing)
    return counts


def _tell(well: Callable[[], None], progress: Callable[[Counts], None] | None, counts: Counts) -> None:
    well()
    if progress is not None:
        progress(counts)


def _passing(error: Exception) -> bool:
    if isinstance(error, KafkaException):
        what: KafkaError = error.args[0]
        return what.retriable() or what.code() in (
            *(KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE),
            *(
                KafkaError._TIMED_OUT,
                KafkaError._TIMED_OUT_QUEUE,
                KafkaError._AUTO_OFFSET_RESET,
                KafkaError._MAX_POLL_EXCEEDED,
            ),
            *(KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION),
        )
    return outage.is_passing(error)


def _carry(
    client: redis.Redis,
    source: Source,
    partitions: int,
    stop: threading.Event,
    member: Member,
    counts: Counts,
    well: Callable[[], None],
) -> None:
    """Read and move until the seat is lost, partitions were added, or ``stop`` is set."""
    with _consumer(source) as consumer:
        known = _places(consumer, source)
        at, first = _begin(client, consumer, source, known)
        reader, readers = Reader(consumer, first), Readers(client, partitions)
        looked = waited = time.monotonic()
        crowded = False
        while not stop.is_set() and (token := member.sit()) is not None:
            now = time.monotonic()
            if now - waited >= WAITING_S:
                waited, crowded = now, readers.is_crowded()
            if crowded:
                stop.wait(POLL_S)
                continue
            reader.poll(POLL_S)
            if batch := reader.batch():
                counts.published.update(move(client, source, partitions, batch, at, token, counts.refused))
            well()
            if now - looked >= LOOK_S:
                looked = now
                if _places(consumer, source) != known:
                    return


@contextlib.contextmanager
def _consumer(source: Source) -> Iterator[Any]:
    told: dict[int, float] = {}

    def trouble(error: KafkaError) -> None:
        """Raise, out of whatever serves the callback, what waiting does not mend; tell of the rest, each trouble now and then."""
        if error.fatal() or error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            raise KafkaException(error)
        now = time.monotonic()
        if now - told.get(error.code(), -TELL_S) >= TELL_S:
            told[error.code()] = now
            _LOG.warning("Kafka does not answer and is asked again: %s", error.str()[:200])

    own = {"bootstrap.servers": source.brokers, "group.id": source.seat, "error_cb": trouble}
    consumer = Consumer({**DEFAULTS, **source.options, **OURS, **own}, logger=_LOG)
    try:
        yield consumer
    finally:
        consumer.close()


def _places(consumer: Any, source: Source) -> list[Place]:
    """The partitions of the topics that there are."""
    found = []
    for topic in source.topics:
        try:
            about = consumer.list_topics(topic, timeout=ASK_S).topics[topic]
        except KafkaException:
            consumer.poll(0)  # why it did not answer is known to a callback only
            raise
        if about.error is None:
            found += [(topic, n) for n in about.partitions]
        elif about.error.code() not in (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART):
            raise KafkaException(about.error)
    return sorted(found)


def _begin(
    client: redis.Redis, consumer: Any, source: Source, places: Sequence[Place]
) -> tuple[dict[Place, int], dict[Place, int]]:
    """The offset that Redis holds of every place, and the one to read first; what is new is noted in Redis."""
    key = offsets(source.name)
    cluster = consumer.list_topics(timeout=ASK_S).cluster_id or ""
    client.hsetnx(key, CLUSTER, cluster)
    kept: Any = client.hgetall(key)
    if kept[CLUSTER.encode()] != cluster.encode():
        raise OffsetsError(f"the offsets in {key} are of another Kafka cluster; give this one another name")
    at, first = {}, {}
    for place in places:
        low, high = consumer.get_watermark_offsets(TopicPartition(*place), timeout=ASK_S)
        named = name_of(place)
        if named.encode() not in kept:
            client.hsetnx(key, named, high if source.from_end else low)
        stored: Any = client.hget(key, named)
        at[place], first[place] = int(stored), max(int(stored), low)
        if at[place] > high:
            raise OffsetsError(
                f"{named} ends at {high} and was read up to {at[place]}: the topic was made anew; HDEL {key} {named} to read it"
            )
        if at[place] < low:
            _LOG.error("%d records of %s were deleted by Kafka before they were read", low - at[place], named)
    if not places:
        _LOG.warning("Kafka has no topic %s yet", ", ".join(source.topics))
    return at, first
