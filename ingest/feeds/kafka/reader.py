"""Records of several Kafka topics in the order of their times.

Every partition of every topic is read at its own speed: one may be an hour ahead of another while a backlog is taken, and trades that come
an hour after the books of their time are late. So records are given by their Kafka times: one is held until every other partition has
shown a later one or has reached its end, though no longer than ``HOLD_S``, so that a broker that is away stops nobody. Within a partition
the order is that of its offsets.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

_LOG = logging.getLogger(__name__)
Place = tuple[str, int]
"""Topic and partition."""
HOLD_S = 1.0
HAND_BYTES = 4 << 20
"""A partition of which so much is held is not asked for more until half of it went."""
TAKE = 2000
BATCH, BATCH_BYTES = 1000, 4 << 20
"""Records of one answer, and the bytes past which it ends."""
RECORD_BYTES = 100
"""What a record counts besides its value."""


def size(record: Any) -> int:
    """Bytes that a record counts as."""
    return len(record.value() or b"") + RECORD_BYTES


class Reader:
    """Reads places from given offsets, and gives the records of all in one order.

    Parameters
    ----------
    consumer:
        A ``confluent_kafka.Consumer`` with ``enable.partition.eof``, assigned nothing.
    at:
        The offset to begin with, of each place.
    clock:
        Seconds that only grow.
    """

    def __init__(self, consumer: Any, at: Mapping[Place, int], clock: Callable[[], float] = time.monotonic) -> None:
        self._consumer = consumer
        self._clock = clock
        self._held: dict[Place, deque[Any]] = {place: deque() for place in at}
        self._bytes = dict.fromkeys(at, 0)
        self._paused: set[Place] = set()
        self._unknown = set(at)  # places whose next record is not known, though there may be one
        self._heads: list[tuple[int, Place]] = []  # the time of the first record of each place that holds one
        self._since = clock()
        consumer.assign([TopicPartition(*place, offset) for place, offset in at.items()])

    def poll(self, timeout_s: float) -> None:
        """Take what has come, or wait so long for it.

        Raises
        ------
        KafkaException
            What Kafka said of a place.
        """
        for record in self._consumer.consume(TAKE, timeout_s):
            place = (record.topic(), record.partition())
            error = record.error()
            if error is None:
                self._take(place, record)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._unknown.discard(place)
            elif not error.retriable():
                raise KafkaException(error)

    def _take(self, place: Place, record: Any) -> None:
        held = self._held[place]
        held.append(record)
        if len(held) == 1:
            heapq.heappush(self._heads, (_time(record), place))
        self._unknown.discard(place)
        self._bytes[place] += size(record)
        if self._bytes[place] > HAND_BYTES and place not in self._paused:
            self._paused.add(place)
            self._consumer.pause([TopicPartition(*place)])

    def batch(self) -> list[Any]:
        """The records whose turn it is; empty where the next one is not known yet."""
        batch: list[Any] = []
        weight = 0
        while self._heads and len(batch) < BATCH and weight < BATCH_BYTES and self._is_known():
            record = self._pop()
            weight += size(record)
            batch.append(record)
        if batch or not self._heads:
            self._since = self._clock()
        return batch

    def _is_known(self) -> bool:
        if self._unknown and self._clock() - self._since >= HOLD_S:
            names = ", ".join(f"{topic}/{n}" for topic, n in sorted(self._unknown)[:5])
            _LOG.warning("nothing is heard of %s for %.0f s: the other partitions go on", names, HOLD_S)
            self._unknown.clear()
        return not self._unknown

    def _pop(self) -> Any:
        _, place = self._heads[0]
        held = self._held[place]
        record = held.popleft()
        self._bytes[place] -= size(record)
        if held:
            heapq.heapreplace(self._heads, (_time(held[0]), place))
        else:
            heapq.heappop(self._heads)
            if not self._ends_at(place, record.offset() + 1):
                self._unknown.add(place)
        if place in self._paused and self._bytes[place] <= HAND_BYTES // 2:
            self._paused.discard(place)
            self._consumer.resume([TopicPartition(*place)])
        return record

    def _ends_at(self, place: Place, offset: int) -> bool:
        """Whether, as of the last answer of its broker, nothing is behind ``offset``."""
        known = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        return known is not None and 0 <= known[1] <= offset


def _time(record: Any) -> int:
    """Milliseconds: when it was made or appended, as the topic is configured; 0, so at once, where it tells neither."""
    return max(int(record.timestamp()[1]), 0)
