"""What to read of Kafka, and under which name its offsets are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from feature_repo.stores.errors import UserError
from ingest.messages.kinds import PLAIN_STREAM
from ingest.streams import keys

STREAMS = (*PLAIN_STREAM, keys.SOCIAL)  # what a topic may hold, by the name of the stream of the same messages
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z").match
OURS: Mapping[str, Any] = {  # options that cannot be configured: that each record is moved once depends on them
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",  # the feed decides whether records are missing; librdkafka must not skip any
}
DEFAULTS: Mapping[str, Any] = {
    "client.id": "tfs",
    "log_level": 2,  # a line for every attempt to connect would fill a disk
    "fetch.wait.max.ms": 50,
    "reconnect.backoff.max.ms": 1000,
    "queued.max.messages.kbytes": 16384,
}
Place = tuple[str, int]  # topic and partition


def place_name(place: Place) -> str:
    """Return a place as the offsets and the dead letters name it.

    >>> place_name(("market_data", 3))
    'market_data/3'
    """
    return f"{place[0]}/{place[1]}"


@dataclass(frozen=True, repr=False)
class Source:
    """What to read. A partition of which nothing is known yet is read from its oldest record, or its end with ``from_end``."""

    brokers: str  # ``host:port``, comma-separated
    topics: Mapping[str, str] = field(default_factory=lambda: {name: name for name in STREAMS})  # the stream of each
    name: str = "kafka"  # under which the offsets are kept: feeds of other topics need another
    from_end: bool = False
    options: Mapping[str, str] = field(default_factory=dict)  # further ones of librdkafka, such as passwords

    def __post_init__(self) -> None:
        if not NAME(self.name):
            raise UserError("the name must be 1 to 64 letters, digits and . _ -")
        if unknown := sorted(set(self.topics.values()) - set(STREAMS)):
            raise UserError(f"no stream {', '.join(unknown)}; streams are {', '.join(STREAMS)}")
        if ours := sorted({*OURS, "group.id", "bootstrap.servers"} & set(self.options)):
            raise UserError(f"{', '.join(ours)} cannot be configured: exactly once depends on it")

    @property
    def seat(self) -> str:
        """The seat of the process that reads; also the role of those that stand by."""
        return f"kafka.{self.name}" if self.name != "kafka" else self.name

    @property
    def first(self) -> str:
        """The hash that holds the offset at which every ``topic/partition`` was begun, and the cluster that they are of."""
        return f"kafka:{{{self.name}}}"
