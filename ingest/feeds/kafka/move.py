"""The move of Kafka's records into the streams, and the offsets behind them.

The offset up to which a stream has the records of a topic's partition is the marker of that (``streams.move``): every log, the stream of
posts and the dead letters of the edge have one each. All of them are checked and moved with every batch, also where none of its records
goes. So the smallest of them says from where records must be read again, whichever streams a failover has set back, and what the others
have is left out there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import redis

from ingest.feeds.kafka.source import Place as Topic
from ingest.feeds.kafka.source import Source, place_name
from ingest.messages.kinds import PLAIN_STREAM
from ingest.messages.refusal import Reason, Refused
from ingest.publish.counts import Counts
from ingest.recordings.lines import POST
from ingest.streams import keys
from ingest.streams.move import Batch, Behind, Place, Record, Step, append, by_place, markers, partition_of, refused


class OffsetsChangedError(RuntimeError):
    """A stream came back older than this process knows: its records must be read again."""


def places(partitions: int) -> list[Place]:
    """Return all places that records may enter."""
    return [*range(partitions), keys.SOCIAL, keys.EDGE]


def offsets(
    client: redis.Redis, source: Source, partitions: int, topics: Sequence[Topic]
) -> dict[Topic, list[int | None]]:
    """Return of each partition of a topic the next offset at every place; None where a place has none yet."""
    found = markers(client, places(partitions), [_marker(source, topic) for topic in topics]).values()
    return {
        topic: [None if (position := of_place[i]) is None else position[0] for of_place in found]
        for i, topic in enumerate(topics)
    }


def begin_at(client: redis.Redis, source: Source, partitions: int, first: Mapping[Topic, int]) -> None:
    """Give each partition of a topic its first offset at every place that has none."""
    pipe: Any = client.pipeline(transaction=False)
    for place in places(partitions):
        for topic, offset in first.items():
            pipe.set(keys.moved(place, _marker(source, topic)), f"{offset}-0", nx=True)
    pipe.execute()


def move(
    client: redis.Redis,
    source: Source,
    partitions: int,
    batch: Sequence[Any],
    at: dict[Topic, int],
    counts: Counts,
    number: str = "",
) -> None:
    """Append the records of Kafka to their streams, and move the offsets ``at`` with them.

    The offsets of all topics are compared, also of those that none of the records is of: where a failover has lost the last trades, which
    will be read again, no later book may go first.

    Parameters
    ----------
    batch : sequence of confluent_kafka.Message
    at : dict of Topic to int
        The offset that each partition of a topic is at; moved on.
    counts : Counts
        What is moved is counted there.
    number : str
        That of ``streams.move.append``.

    Raises
    ------
    OffsetsChangedError
        A place has a smaller offset than ``at``; nothing has changed there.
    """
    after = {(message.topic(), message.partition()): message.offset() + 1 for message in batch}
    steps = [Step(_marker(source, topic), (after.get(topic, offset), 0), (offset, 0)) for topic, offset in at.items()]
    placed = [_record(source, message, partitions) for message in batch]
    records = by_place(placed)
    batches = [Batch(place, records.get(place, ()), steps) for place in places(partitions)]
    if any(isinstance(found, Behind) for found in append(client, batches, is_new=True, number=number)):
        raise OffsetsChangedError
    at.update(after)
    for message, (place, record) in zip(batch, placed, strict=True):
        if place == keys.EDGE:
            counts.refused[str(record.words[1])] += 1
        else:
            counts.published[PLAIN_STREAM.get(source.topics[message.topic()], POST)] += 1


def _marker(source: Source, topic: Topic) -> str:
    return f"{source.seat}:{place_name(topic)}"


def _record(source: Source, message: Any, partitions: int) -> tuple[Place, Record]:
    topic, value = (message.topic(), message.partition()), message.value()
    stream, marker, position = source.topics[message.topic()], _marker(source, topic), (message.offset() + 1, 0)
    try:
        if value is None:
            raise Refused(Reason.UNDECODABLE, "no value: a message is JSON or MessagePack in the value of its record")
        if stream == keys.SOCIAL:
            return keys.SOCIAL, Record(marker, position, ["data", value])
        place = partition_of({b"data": value}, partitions)
        return place, Record(marker, position, ["kind", PLAIN_STREAM[stream], "data", value])
    except Exception as error:  # one record must not stop the feed, whatever is wrong with it
        kept = {name: part for name, part in ((b"data", value), (b"key", message.key())) if part is not None}
        letter = refused("kafka:" + place_name(topic), str(message.offset()), kept, error)
        return keys.EDGE, Record(marker, position, letter)
