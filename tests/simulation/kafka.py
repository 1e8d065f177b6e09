"""The simulated Kafka: topics of one partition, and the part of ``confluent_kafka.Consumer`` that the feed uses."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError

from tests.simulation.world import World, running


class Record:
    """One record of a topic, or the news that its end is reached."""

    __slots__ = ("_error", "_ms", "_offset", "_topic", "_value")

    def __init__(self, topic: str, offset: int, value: bytes, ms: int, error: Any = None) -> None:
        self._topic, self._offset, self._value, self._ms, self._error = topic, offset, value, ms, error

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value

    def key(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, self._ms

    def error(self) -> Any:
        return self._error


class Broker:
    """Topics and their records."""

    def __init__(self, world: World, topics: Sequence[str]) -> None:
        self.world = world
        self.topics: dict[str, list[Record]] = {topic: [] for topic in topics}

    def append(self, topic: str, value: bytes) -> None:
        """Append a record now."""
        records = self.topics[topic]
        records.append(Record(topic, len(records), value, self.world.now // 1000))


class Consumer:
    """Reads all topics from assigned offsets."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._at: dict[str, int] = {}
        self._told: set[str] = set()
        self._paused: set[str] = set()

    def list_topics(self, topic: str | None = None, timeout: float = 0.0) -> Any:
        about = {name: SimpleNamespace(error=None, partitions={0: None}) for name in self._broker.topics}
        if topic is not None and topic not in about:
            about[topic] = SimpleNamespace(error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), partitions={})
        return SimpleNamespace(cluster_id="sim", topics=about)

    def get_watermark_offsets(self, place: Any, timeout: float = 0.0, cached: bool = False) -> tuple[int, int]:
        return 0, len(self._broker.topics[place.topic])

    def assign(self, places: Sequence[Any]) -> None:
        self._at = {place.topic: place.offset for place in places}
        self._told.clear()

    def pause(self, places: Sequence[Any]) -> None:
        self._paused.update(place.topic for place in places)

    def resume(self, places: Sequence[Any]) -> None:
        self._paused.difference_update(place.topic for place in places)

    def poll(self, timeout: float) -> None:
        return None

    def close(self) -> None:
        return None

    def consume(self, count: int, timeout: float) -> list[Record]:
        """Return records of some topics; wait where there are none."""
        found = self._next()
        if not found:
            world = self._broker.world
            running().sleep(max(round(timeout * 1_000_000), world.idle_us()))
            found = self._next()
        return found

    def _next(self) -> list[Record]:
        found: list[Record] = []
        rng = self._broker.world.rng
        for topic, records in self._broker.topics.items():
            if topic in self._paused:
                continue
            at = self._at[topic]
            some = records[at : at + rng.randrange(1, 8)]
            self._at[topic] = at + len(some)
            found += some
            if some:
                self._told.discard(topic)
            elif topic not in self._told:
                self._told.add(topic)
                end = KafkaError(KafkaError._PARTITION_EOF)
                found.append(Record(topic, at, b"", 0, end))
        return found
