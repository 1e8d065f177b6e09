"""Appending messages to the partition logs, many in one round trip."""

from __future__ import annotations

import time
from typing import Any

import redis

from feature_repo.stores.errors import UserError
from ingest.messages.kinds import Message, SocialPost
from ingest.publish.placed import Entry, add_append, entries_of, place_anew, words_of
from ingest.recordings.lines import Output, Rejected
from ingest.settings import Settings
from ingest.streams import deployment, replicas
from ingest.streams.dead_letters import refuse
from ingest.streams.move import Place, PlacesError, check_places
from ingest.streams.read import PART_BYTES

SOURCE_MAX = 200  # characters kept of the name of a refused line's file
RAISED_S, LOOK_S = 120.0, 0.1
"""How long to wait while the number of partitions is raised, and between two looks."""


class NotRaisedError(UserError, RuntimeError):
    """The number of partitions has been on the way to another one for long; the message says what to do."""


class Publisher:
    """Appends messages to the streams, for the replay and the simulator.

    Appends are gathered and sent together: call ``flush``, or leave the ``with`` block, to send the last of them. Refused lines are sent
    after the messages. While the number of partitions is raised, it waits.

    Parameters
    ----------
    client : redis.Redis
    partitions, configured : int
        Of the settings.
    batch : int
        Appends that are sent together.

    Attributes
    ----------
    partitions : int
        Their number of today.
    """

    def __init__(self, client: redis.Redis, partitions: int, *, batch: int = 500, configured: int = 0) -> None:
        self._client = client
        self._settings = Settings(partitions=partitions, configured=configured)
        self._batch = batch
        self._entries: dict[Place, list[Any]] = {}
        self._gathered = self._bytes = 0
        self._letters: Any = client.pipeline(transaction=False)

    @property
    def partitions(self) -> int:
        return self._settings.partitions

    def publish(self, kind: str, message: Message | SocialPost, *, recorded: bool = False) -> None:
        """Append a message to the log of its symbol (what names several, to theirs), or a post to the stream that the scorer reads."""
        for place, fields in entries_of(kind, message, self.partitions):
            if recorded:
                fields[b"recorded"] = b"1"
            self._entries.setdefault(place, []).append(words_of(fields))
            self._gathered += 1
            self._bytes += len(fields[b"data"])
        if self._gathered >= self._batch or self._bytes >= PART_BYTES:
            self._send()

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
        self._send()
        replicas.execute(self._client, self._letters)

    def _send(self) -> None:
        """Send the entries that are gathered; those of logs that are divided meanwhile, when that is done."""
        entries, self._entries, self._gathered, self._bytes = self._entries, {}, 0, 0
        while entries:
            pipe: Any = self._client.pipeline(transaction=False)
            for place, of_place in entries.items():
                add_append(pipe, place, map(Entry, of_place), self._settings.number)
            replies = replicas.execute(self._client, pipe, raise_on_error=False)
            refused: dict[Place, list[Any]] = {}
            for place, reply in zip(entries, replies, strict=True):
                try:
                    check_places(reply)
                except PlacesError:
                    refused[place] = entries[place]
                else:
                    if isinstance(reply, Exception):
                        raise reply
            entries = refused and place_anew(refused, self._wait_for_number())

    def _wait_for_number(self) -> int:
        deadline = time.monotonic() + RAISED_S
        while (conf := deployment.adopted(self._client, self._settings)).number == self._settings.number:
            if time.monotonic() > deadline:
                raise NotRaisedError(
                    "the number of partitions is being raised for minutes; look with `python -m ingest partitions`"
                )
            time.sleep(LOOK_S)
        self._settings = conf
        return conf.partitions

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
