"""An alarm before Redis is full.

A full server (``maxmemory``, ``noeviction``) must refuse new input first. It refuses appends of the producers and online writes. The worker
drops what it could not write, tries again until there is room, and reads it again from the log. Moving and acknowledging need no memory,
so router, commits and the offline writer go on and make room.
"""

from __future__ import annotations

import logging
import time

import redis

from ingest.streams.cluster import infos

_LOG = logging.getLogger(__name__)
ALARM, CALM = 0.8, 0.7  # parts of `maxmemory`: warn above the first, and say that there is room again below the second
LOOK_S = 5.0  # between two looks at the memory


class Alarm:
    """Logs once when the memory of Redis runs short, and once when it has room again."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._looked = 0.0
        self._short = False

    def look(self) -> None:
        """Look, if the last time is ``LOOK_S`` ago."""
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        each = infos(self._client, "memory")
        part = max(about["used_memory"] / about["maxmemory"] if about["maxmemory"] else 0.0 for about in each)
        if part >= ALARM and not self._short:
            self._short = True
            _LOG.error("Redis uses %.0f %% of its maxmemory; when it is full, it takes no new messages", 100 * part)
        elif self._short and part < CALM:
            self._short = False
            _LOG.warning("Redis has room again")
