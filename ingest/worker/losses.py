"""What a log has lost of the entries that a worker has read: Redis came back older, from a replica or a file that lacked its newest writes.

Rows of such entries may have been served, so their number is counted (``lost.entries``) and told. Who wrote them knows that by the
marker of its source (``streams.move``): live feeds and Kafka readers append theirs again. What nobody had read is not counted here.
"""

from __future__ import annotations

import logging
from typing import Any

import redis

from feature_repo.stores.scripts import read_script
from ingest.streams import keys, replicas
from ingest.worker.partition import Partition

ENTRIES = "lost.entries"
"""The counter of a partition."""
_COUNT = read_script(__file__, "losses.lua")
_LOG = logging.getLogger(__name__)


def count(client: redis.Redis, p: int, position: bytes, entries: int) -> int:
    """Count and tell what the log of partition ``p`` has lost, and return how much that is.

    Parameters
    ----------
    position : bytes
        The last entry that was read.
    entries : int
        How many entries the log had up to there, since it began.
    """
    touched = keys.events(p), keys.counters(p), keys.lost(p)
    reply: Any = client.eval(_COUNT, len(touched), *touched, position, entries)
    if lost := int(reply):
        _LOG.error(
            "partition %d: Redis came back older: %d entries that were read here are gone from the log; rows of them may have been served",
            p, lost,
        )  # fmt: skip
    return lost


class Losses:
    """How far a worker has read its partitions, and what of that is lost where their leases are.

    Where replicas are waited for, only what they had at a commit counts: an entry that they lack was acknowledged to nobody, and no row
    of it was served.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._sure: dict[int, tuple[bytes, int]] = {}
        self._noted: dict[int, tuple[bytes, int]] = {}

    def confirm(self, partition: Partition) -> None:
        """Note that everything that a partition has processed is committed."""
        self._sure[partition.number] = partition.position, partition.entries

    def note(self, partition: Partition) -> None:
        """Note how far a partition was read whose lease was lost: its log may have come back older."""
        sure = self._sure.pop(partition.number, None)
        read = sure if replicas.number(self._client) else (partition.position, partition.entries)
        if read is not None:
            self._noted.setdefault(partition.number, read)

    def count(self) -> None:
        """Count what is lost of what was noted."""
        for p, read in list(self._noted.items()):
            count(self._client, p, *read)
            del self._noted[p]
