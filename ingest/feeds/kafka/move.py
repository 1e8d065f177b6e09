"""The move of Kafka's records into the streams: one script writes the records and the offsets behind them, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from ingest.feeds.kafka.source import Place, Source, place_name
from ingest.messages.kinds import PLAIN_STREAM
from ingest.messages.refusal import Reason, Refused
from ingest.publish.counts import Counts
from ingest.recordings.lines import POST
from ingest.streams import keys
from ingest.streams.move import Offsets, Record, log_of, move_records, refused


def move(
    client: redis.Redis,
    source: Source,
    partitions: int,
    batch: Sequence[Any],
    at: dict[Place, int],
    token: str,
    counts: Counts,
) -> None:
    """Append the records of Kafka to their streams, and move the offsets ``at`` with them.

    The offsets of all places are compared, also of those that none of the records is of: where a failover has lost the last trades, which
    will be read again, no later book may go first.

    Parameters
    ----------
    batch : sequence of confluent_kafka.Message
    at : dict of Place to int
        The offset that each place of the source is at; moved on.
    token : str
        The fencing token of the source's seat.
    counts : Counts
        What is moved is counted there.

    Raises
    ------
    FencedError
        Another process holds the seat; nothing has changed.
    OffsetsChangedError
        The offsets in Redis are not ``at``; nothing has changed.
    """
    records = [_record(source, message, partitions) for message in batch]
    after = {(message.topic(), message.partition()): message.offset() + 1 for message in batch}
    steps = [(place_name(place), offset, after.get(place, offset)) for place, offset in at.items()]
    move_records(client, records, seat=source.seat, token=token, offsets=Offsets(source.offsets, steps))
    at.update(after)
    for message, record in zip(batch, records, strict=True):
        if record.reason:
            counts.refused[record.reason] += 1
        else:
            counts.published[PLAIN_STREAM.get(source.topics[message.topic()], POST)] += 1


def _record(source: Source, message: Any, partitions: int) -> Record:
    stream, value = source.topics[message.topic()], message.value()
    try:
        if value is None:
            raise Refused(Reason.UNDECODABLE, "no value: a message is JSON or MessagePack in the value of its record")
        if stream == keys.SOCIAL:
            return Record([(keys.SOCIAL, ["data", value])])
        return Record([(log_of({b"data": value}, partitions), ["kind", PLAIN_STREAM[stream], "data", value])])
    except Exception as error:  # one record must not stop the feed, whatever is wrong with it
        origin = "kafka:" + place_name((message.topic(), message.partition()))
        kept = {name: part for name, part in ((b"data", value), (b"key", message.key())) if part is not None}
        return refused(origin, str(message.offset()), kept, error, delete=False)
