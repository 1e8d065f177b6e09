"""Records of several Kafka topics in the order of their times.

Every partition of every topic is read at its own speed: while a backlog is read, one may be an hour ahead of another, and trades that come
an hour after the books of their time are late. So records are returned in the order of their Kafka times. A record is held until every
other partition has shown a later one or has reached its end, but at most ``HOLD_S``, because a broker that is away must not stop the
others. A turn counts for no longer than its poll may take: while a write to Redis hangs, nobody looks for records, and those of every
partition may have come. Within a partition the order is that of its offsets.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from ingest.feeds.kafka.source import Place, place_name

_LOG = logging.getLogger(__name__)
HOLD_S = 1.0
HELD_BYTES = 4 << 20  # a partition of which more is held is paused until half of it is left
CONSUME = 2000  # records to ask librdkafka for at once
BATCH, BATCH_BYTES = 1000, 4 << 20  # records of a batch, and the bytes past which it ends
RECORD_BYTES = 100  # what a record counts besides its value


def _size(record: Any) -> int:
    return len(record.value() or b"") + RECORD_BYTES


class Reader:
    """Reads places from given offsets, and returns the records of all in one order.

    Parameters
    ----------
    consumer : confluent_kafka.Consumer
        With ``enable.partition.eof``, and nothing assigned.
    at : mapping of Place to int
        The offset to begin with, of each place.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self, consumer: Any, at: Mapping[Place, int], clock: Callable[[], float] = lambda: time.monotonic()
    ) -> None:
        self._consumer = consumer
        self._clock = clock
        self._held: dict[Place, deque[Any]] = {place: deque() for place in at}
        self._bytes = dict.fromkeys(at, 0)
        self._paused: set[Place] = set()
        self._unknown = set(at)  # places whose next record is not known, though there may be one
        self._heads: list[tuple[int, Place]] = []  # the time of the first record of each place that holds one
        self._polled = clock()
        self._polled_s = 0.0  # how long was polled since a batch was given
        consumer.assign([TopicPartition(*place, offset) for place, offset in at.items()])

    def poll(self, timeout_s: float) -> None:
        """Hold the records that have come; wait up to ``timeout_s`` for the first. Raise ``KafkaException`` if waiting does not help."""
        come = self._consumer.consume(CONSUME, timeout_s)
        before, self._polled = self._polled, self._clock()
        self._polled_s += min(self._polled - before, timeout_s)  # the rest was a write, or this process was stopped
        for record in come:
            place = (record.topic(), record.partition())
            error = record.error()
            if error is None:
                self._hold(place, record)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._unknown.discard(place)
            elif not error.retriable():
                raise KafkaException(error)

    def _hold(self, place: Place, record: Any) -> None:
        held = self._held[place]
        held.append(record)
        if len(held) == 1:
            heapq.heappush(self._heads, (_time(record), place))
        self._unknown.discard(place)
        self._bytes[place] += _size(record)
        if self._bytes[place] > HELD_BYTES and place not in self._paused:
            self._paused.add(place)
            self._consumer.pause([TopicPartition(*place)])

    def next_batch(self) -> list[Any]:
        """Return the next records in order; none where the next one is not known yet."""
        batch: list[Any] = []
        weight = 0
        while self._heads and len(batch) < BATCH and weight < BATCH_BYTES and self._is_known():
            record = self._pop()
            weight += _size(record)
            batch.append(record)
        if batch or not self._heads:
            self._polled_s = 0.0
        return batch

    def _is_known(self) -> bool:
        if self._unknown and self._polled_s >= HOLD_S:
            names = ", ".join(map(place_name, sorted(self._unknown)[:5]))
            _LOG.warning("nothing is heard of %s for %.0f s: the other partitions go on", names, HOLD_S)
            self._unknown.clear()
        return not self._unknown

    def _pop(self) -> Any:
        _, place = self._heads[0]
        held = self._held[place]
        record = held.popleft()
        self._bytes[place] -= _size(record)
        if held:
            heapq.heapreplace(self._heads, (_time(held[0]), place))
        else:
            heapq.heappop(self._heads)
            if not self._ends_at(place, record.offset() + 1):
                self._unknown.add(place)
        if place in self._paused and self._bytes[place] <= HELD_BYTES // 2:
            self._paused.discard(place)
            self._consumer.resume([TopicPartition(*place)])
        return record

    def _ends_at(self, place: Place, offset: int) -> bool:
        """Return whether the place ends at ``offset``, by the last answer of its broker."""
        known = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        if known is None:
            return False
        _, high = known
        return bool(0 <= high <= offset)


def _time(record: Any) -> int:
    """Return when the record was made or appended, as its topic is configured, in ms; 0, so at once, where it has no time."""
    _, ms = record.timestamp()
    return max(int(ms), 0)
