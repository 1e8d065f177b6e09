"""Appending messages to the partition logs, many in one round trip."""

from __future__ import annotations

from typing import Any

import msgspec
import redis

from ingest.messages.decode import encode
from ingest.messages.kinds import Clock, Message, Neighbour, SocialPost
from ingest.recordings.lines import Output, Rejected
from ingest.streams import replicas
from ingest.streams.dead_letters import refuse
from ingest.streams.keys import SOCIAL, partition_of, stream
from ingest.streams.move import Place

SOURCE_MAX = 200  # characters kept of the name of a refused line's file


def entries_of(kind: str, message: Message | SocialPost, partitions: int) -> list[tuple[Place, dict[bytes, bytes]]]:
    """Return the entries of a message: for each the place that it is appended to and its fields.

    A post goes to the stream of posts, a clock and a neighbour's row to the logs of their symbols, each with those that it has, anything
    else to the log of its symbol.
    """
    if isinstance(message, SocialPost):
        return [(SOCIAL, {b"data": encode(message)})]
    if not isinstance(message, (Clock, Neighbour)):
        return [(partition_of(message.symbol, partitions), {b"kind": kind.encode(), b"data": encode(message)})]
    names: dict[int, list[str]] = {}
    for name in message.symbols:
        names.setdefault(partition_of(name, partitions), []).append(name)
    return [
        (p, {b"kind": kind.encode(), b"data": encode(msgspec.structs.replace(message, symbols=of_log))})
        for p, of_log in names.items()
    ]


class Publisher:
    """Appends messages to the streams, for the feeds, the replay and the simulator.

    Appends are gathered and sent together: call ``flush``, or leave the ``with`` block, to send the last of them. Refused lines are sent
    after the messages.

    Parameters
    ----------
    client : redis.Redis
    partitions : int
    batch : int
        Appends that are sent together.
    """

    def __init__(self, client: redis.Redis, partitions: int, *, batch: int = 500) -> None:
        self._client = client
        self._partitions = partitions
        self._batch = batch
        self._pipeline: Any = client.pipeline(transaction=False)
        self._letters: Any = client.pipeline(transaction=False)

    def publish(self, kind: str, message: Message | SocialPost, *, recorded: bool = False) -> None:
        """Append a message to the log of its symbol (what names several, to theirs), or a post to the stream that the scorer reads."""
        for place, fields in entries_of(kind, message, self._partitions):
            if recorded:
                fields[b"recorded"] = b"1"
            self._pipeline.xadd(stream(place), fields)
        if len(self._pipeline) >= self._batch:
            replicas.execute(self._client, self._pipeline)

    def publish_output(self, output: Output, *, recorded: bool = False) -> None:
        """Publish a parsed message, or keep a refused line byte for byte, with its file, its number and the reason."""
        if not isinstance(output, Rejected):
            self.publish(output.kind, output.message, recorded=recorded)
            return
        line, reason, detail = output
        refuse(self._letters, line.source[:SOURCE_MAX], {b"data": line.data}, reason, detail, str(line.number))
        if len(self._letters) >= self._batch:
            replicas.execute(self._client, self._letters)

    def flush(self) -> None:
        """Send what is gathered."""
        for pipeline in (self._pipeline, self._letters):
            replicas.execute(self._client, pipeline)

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
