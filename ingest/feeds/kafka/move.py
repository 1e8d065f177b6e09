"""The move of Kafka's records into the streams: one script writes the records and the offsets behind them, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import redis

from ingest.feeds.kafka.reader import Place
from ingest.messages.kinds import PLAIN_STREAM
from ingest.messages.refusal import Reason, Refused
from ingest.streams import keys
from ingest.streams import move as streams
from ingest.streams.move import Offsets, Record, log_of


class Feed(Protocol):
    """Whose records these are: its seat, the name of its offsets, and the stream of each topic."""

    @property
    def name(self) -> str:
        """Under which the offsets are kept."""

    @property
    def seat(self) -> str:
        """Whose lease lets it write."""

    @property
    def topics(self) -> Mapping[str, str]:
        """Topics and their streams."""


def offsets(name: str) -> str:
    """The hash of the next offset of every ``topic/partition``, and of the cluster that they are of."""
    return f"kafka:{{{name}}}"


def name_of(place: Place) -> str:
    """A place as the offsets and the dead letters name it."""
    return f"{place[0]}/{place[1]}"


def move(
    client: redis.Redis,
    feed: Feed,
    partitions: int,
    batch: Sequence[Any],
    at: dict[Place, int],
    token: str,
    refused: dict[str, int],
) -> dict[str, int]:
    """Append records to where they belong and move the offsets ``at`` with them; how many of each kind were taken.

    Raises
    ------
    FencedError
        Another process holds the seat; nothing has changed.
    OffsetsChangedError
        The offsets in Redis are not ``at``; nothing has changed.
    """
    records = [_record(feed, record, partitions) for record in batch]
    after: dict[Place, int] = {(record.topic(), record.partition()): record.offset() + 1 for record in batch}
    steps = [(name_of(place), at[place], offset) for place, offset in after.items()]
    streams.move_records(client, records, seat=feed.seat, token=token, offsets=Offsets(offsets(feed.name), steps))
    at.update(after)
    taken: dict[str, int] = {}
    for record, moved in zip(batch, records, strict=True):
        stream = feed.topics[record.topic()]
        counts, what = (refused, moved.reason) if moved.reason else (taken, PLAIN_STREAM.get(stream, "social"))
        counts[what] = counts.get(what, 0) + 1
    return taken


def _record(feed: Feed, record: Any, partitions: int) -> Record:
    stream, value = feed.topics[record.topic()], record.value()
    try:
        if value is None:
            raise Refused(Reason.UNDECODABLE, "no value: a message is JSON or MessagePack in the value of its record")
        if stream == keys.SOCIAL:
            return Record([(keys.SOCIAL, ["data", value])])
        return Record([(log_of({b"data": value}, partitions), ["kind", PLAIN_STREAM[stream], "data", value])])
    except Exception as error:  # one record must not stop the feed, whatever is wrong with it
        source = "kafka:" + name_of((record.topic(), record.partition()))
        kept = {name: part for name, part in ((b"data", value), (b"key", record.key())) if part is not None}
        return streams.refused(source, str(record.offset()), kept, error, delete=False)
