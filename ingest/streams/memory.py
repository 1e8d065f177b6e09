"""An alarm before Redis is full.

Policy: what is refused first is new input. A full server (``maxmemory``, ``noeviction``) refuses appends of the producers and online
writes; the worker forgets what it could not write, tries again until there is room, and takes it again from the log. Moving and
acknowledging need no memory, so router, commits and the offline writer go on and make room.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import redis

_LOG = logging.getLogger(__name__)
ALARM, CALM = 0.8, 0.7
"""Parts of ``maxmemory`` above which to warn, and below which all is well again."""
LOOK_S = 5.0


def used(client: redis.Redis) -> float | None:
    """The part of ``maxmemory`` that Redis uses; None where it has no limit."""
    about: Any = client.info("memory")
    return about["used_memory"] / about["maxmemory"] if about["maxmemory"] else None


class Alarm:
    """Looks now and then, and logs once when memory runs short and once when it is well again."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._looked = 0.0
        self._short = False

    def look(self) -> None:
        """Look, if the last time is ``LOOK_S`` ago."""
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        part = used(self._client)
        if part is not None and part >= ALARM and not self._short:
            self._short = True
            _LOG.error("Redis uses %.0f %% of its maxmemory; when it is full, it takes no new messages", 100 * part)
        elif self._short and (part is None or part < CALM):
            self._short = False
            _LOG.warning("Redis has room again")
